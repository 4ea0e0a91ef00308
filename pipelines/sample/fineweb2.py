"""FineWeb2's columns: one Parquet file for each language and split."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.sample.documents import Document
from pipelines.sample.draws import Draws

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("id", pa.string()),
        ("dump", pa.string()),
        ("url", pa.string()),
        ("date", pa.string()),
        ("file_path", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float64()),
        ("language_script", pa.string()),
        ("minhash_cluster_size", pa.int64()),
        ("top_langs", pa.string()),
    ]
)


def write_fineweb2(path: Path, subset: str, documents: list[Document], draws: Draws) -> None:
    """Write the documents of one language and split with made-up crawl facts."""
    path.parent.mkdir(parents=True)
    rows = [_row(document, subset, draws) for document in documents]
    write_parquet(path, pa.Table.from_pylist(rows, schema=SCHEMA))


def write_parquet(path: Path, rows: pa.Table) -> None:
    """Write a table without what only large files need: in small ones it is most of the bytes."""
    pq.write_table(
        rows,
        path,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
    )


def _row(document: Document, subset: str, draws: Draws) -> dict[str, str | float | int]:
    dump = f"CC-MAIN-{draws.between(2013, 2023)}-{draws.between(5, 50):02}"
    score = round(1.0 - 0.4 * draws.uniform() ** 3, 6)
    crawl = f"s3://commoncrawl/crawl-data/{dump}/segments"
    segment = f"{draws.between(10**9, 2 * 10**9 - 1)}.{draws.below(100):02}"
    return {
        "text": document.text,
        "id": document.id,
        "dump": dump,
        "url": f"https://example.org/{subset}/{document.id[10:18]}",
        "date": timestamp(draws, year=dump[8:12]),
        "file_path": f"{crawl}/{segment}/warc/CC-MAIN-sample.warc.gz",
        "language": subset[:-5],
        "language_score": score,
        "language_script": subset[-4:],
        "minhash_cluster_size": int(draws.log_normal(4, 1.2)) + 1,
        "top_langs": json.dumps({f"{subset}_score": score}),
    }


def timestamp(draws: Draws, year: str) -> str:
    """A second of the year, as crawls write it."""
    month, day, hour = draws.between(1, 12), draws.between(1, 28), draws.below(24)
    return f"{year}-{month:02}-{day:02}T{hour:02}:{draws.below(60):02}:{draws.below(60):02}Z"
