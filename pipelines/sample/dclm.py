"""DCLM-baseline's fields: English web documents, JSON lines in zstd.

The first file carries two broken lines as crawls do: one cut in the middle and one with a byte that
is not UTF-8. A reader must count both and keep the rest.
"""

import json
from pathlib import Path

import zstandard

from pipelines.sample.documents import Document
from pipelines.sample.draws import Draws, digest
from pipelines.sample.fineweb2 import timestamp
from pipelines.sample.noise import Injection

FOLDER = "dclm/global-shard_01_of_10/local-shard_0_of_10"

_SCORE = "fasttext_openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train_prob"
_CRAWLER = (
    "robots: classic\r\nhostname: crawler.example.org\r\nsoftware: Apache Nutch 1.6 (CC)\r\n"
    "isPartOf: CC-MAIN-2014-15\r\noperator: sample\r\nformat: WARC File Format 1.0"
)


def lines_of(documents: list[Document], draws: Draws) -> list[bytes]:
    """One JSON line, without its newline, for each document."""
    return [json.dumps(_record(document, draws)).encode() for document in documents]


def broken_lines(documents: list[Document], draws: Draws) -> tuple[list[bytes], list[Injection]]:
    """A cut line and a line with a bad byte, made of two further documents."""
    cut, bad = lines_of(documents, draws)
    middle = bad.index(b'"text": "') + 20
    lines = [cut[: len(cut) * 2 // 3], bad[:middle] + b"\xff\xfe" + bad[middle:]]
    return lines, [
        Injection(documents[0].id, "cut_line", note="the JSON line ends in the middle"),
        Injection(documents[1].id, "bad_utf8", note="two bytes that are not UTF-8"),
    ]


def write_dclm(path: Path, lines: list[bytes]) -> None:
    """Write one file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = b"".join(line + b"\n" for line in lines)
    path.write_bytes(zstandard.ZstdCompressor(level=3).compress(raw))


def _record(document: Document, draws: Draws) -> dict[str, object]:
    year = str(draws.between(2013, 2022))
    key = digest(document.id)
    crawl = f"<urn:uuid:{key[:8]}-0000-4000-8000-{key[8:20]}>"
    url = f"https://example.org/english/{key[:8]}"
    return {
        "bff_contained_ngram_count_before_dedupe": draws.below(60),
        "language_id_whole_page_fasttext": {"en": round(1 - 0.2 * draws.uniform() ** 2, 6)},
        "metadata": {
            "Content-Length": str(len(document.text) * 4 + draws.below(9000)),
            "Content-Type": "application/http; msgtype=response",
            "WARC-Block-Digest": f"sha1:{key.upper()}",
            "WARC-Concurrent-To": crawl,
            "WARC-Date": timestamp(draws, year),
            "WARC-IP-Address": f"192.0.2.{draws.between(1, 254)}",
            "WARC-Identified-Payload-Type": None,
            "WARC-Payload-Digest": f"sha1:{digest(key).upper()}",
            "WARC-Record-ID": document.id,
            "WARC-Target-URI": url,
            "WARC-Truncated": None,
            "WARC-Type": "response",
            "WARC-Warcinfo-ID": crawl,
        },
        "previous_word_count": document.text.count(" ") + 1 + draws.below(40),
        "text": document.text,
        "url": url,
        "warcinfo": _CRAWLER,
        _SCORE: round(0.02 + 0.9 * draws.uniform() ** 3, 9),
    }
