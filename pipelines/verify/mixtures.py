"""What refers to strata, re-read: manifests with their tables, exclusions, held-out text, names.

Ids cover content, so each file is compared with its own name first; then with the strata that it
was made of, as far as those can be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipelines.exclude import rows_excluded
from pipelines.verify.findings import Findings, files_below
from schemas import exclusions
from schemas import seal as seals
from schemas.digest import ID_LENGTH, Json, content_id, sha256
from schemas.errors import UserError
from schemas.ledger import total
from schemas.manifest import Manifest
from schemas.rows import RowCount
from schemas.run import Heldout
from schemas.shard import digest_of
from schemas.store import exists, join
from schemas.stratum import Stratum

NOT_ITS_ID = "its content is not what its id tells of"


def load_manifest(findings: Findings, url: str) -> Manifest | None:
    """A manifest whose id is that of its content."""
    folder = url.rsplit("/", 1)[0]
    mend = _again(findings, folder)
    content = findings.record(url, mend)
    if content is None:
        return None
    covered = {key: value for key, value in content.items() if key not in ("id", "shard_table")}
    if content.get("id") != content_id(covered) or content["id"] != folder.rsplit("/", 1)[1]:
        findings.problem(url, NOT_ITS_ID, mend)
        return None
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        wrong = f"is a manifest of another version ({error.errors()[0]['msg']})"
        findings.problem(url, wrong, mend)
        return None


def _again(findings: Findings, folder: str) -> str:
    return f"delete the folder {findings.store.relative(folder)} and run `mmbert data` again"


def check_manifest(
    findings: Findings,
    url: str,
    manifest: Manifest,
    strata: Mapping[str, Stratum],
    excluded: dict[str, pa.Table | None],
) -> None:
    """Its shard table and ledger follow from its strata (URL of the folder -> stratum).

    `excluded` remembers the exclusion lists that were read, by URL.
    """
    store, folder = findings.store, url.rsplit("/", 1)[0]
    mend = _again(findings, folder)
    lists = [join(store.url, "exclusions", f"{ref.id}.parquet") for ref in manifest.exclusions]
    for list_url in lists:
        if list_url not in excluded:
            excluded[list_url] = check_exclusions(findings, list_url)
    if manifest.continues is not None:
        before = join(folder.rsplit("/", 1)[0], manifest.continues.manifest, "manifest.json")
        if not exists(before):
            wrong = f"is missing, and {store.relative(url)} goes on with it"
            findings.problem(before, wrong, "bring it back")
    tables = [excluded[list_url] for list_url in lists]
    table_url = join(folder, "shards.arrow")
    data = findings.read(table_url, mend)
    if data is None:
        return
    if not manifest.shard_table:
        findings.num_undigested += 1
    elif sha256(data) != manifest.shard_table:
        findings.problem(table_url, "its sha256 is not that of manifest.json", mend)
        return
    try:
        rows = ipc.open_file(BytesIO(data)).read_all().to_pylist()
    except (pa.ArrowException, ValueError, OSError) as error:
        findings.problem(table_url, f"cannot be read as Arrow ({error})", mend)
        return

    mine = [strata.get(store.resolve(share.folder)) for share in manifest.strata]
    for share in manifest.strata:
        place = join(store.resolve(share.folder), "stratum.json")
        if not exists(place):
            findings.problem(place, f"is missing, and {store.relative(url)} names it", mend)
    known = [stratum for stratum in mine if stratum is not None]
    if len(known) < len(mine) or any(table is None for table in tables):
        return  # a problem that is told already
    for stratum in known:
        if (stratum.tokenizer, stratum.vocab_size) != (manifest.tokenizer, manifest.vocab_size):
            wrong = (
                f"is of tokenizer {manifest.tokenizer[:16]}, its stratum {stratum.name} of "
                f"{stratum.tokenizer[:16]}"
            )
            findings.problem(url, wrong, mend)
    if rows != _expected(manifest, known, [table for table in tables if table is not None]):
        findings.problem(table_url, "is not the table of the manifest's strata", mend)
    ledger = total(stratum.ledger for stratum in known).model_copy(update={"unreadable": ()})
    if ledger != manifest.ledger:
        findings.problem(url, "its ledger is not the sum of its strata's", mend)


def _expected(
    manifest: Manifest, strata: list[Stratum], excluded: list[pa.Table]
) -> list[dict[str, Json]]:
    """The rows of the shard table (SHARDS schema)."""
    named = zip(manifest.exclusions, excluded, strict=True)
    gone = rows_excluded([t for ref, t in named if ref.from_window == 0], manifest.context)
    rows: list[dict[str, Json]] = []
    for index, (share, stratum) in enumerate(zip(manifest.strata, strata, strict=True)):
        for entry in stratum.shards:
            digest = digest_of(entry.name)
            count = entry.rows[manifest.context].count() - gone.get(digest, RowCount(0, 0, 0))
            rows.append(
                {
                    "stratum": index,
                    "url": join(share.folder, entry.name),
                    "digest": digest,
                    "documents": entry.documents,
                    "rows": count.rows,
                    "tokens": count.tokens,
                }
            )
    return rows


def check_exclusions(findings: Findings, url: str) -> pa.Table | None:
    """An exclusion list (exclusions.ROWS) whose bytes are those that its name tells of."""
    mend = "delete it and the manifests that name it, and run `mmbert data` again"
    data = findings.read(url, mend)
    if data is None:
        return None
    if sha256(data)[:ID_LENGTH] != url.rsplit("/", 1)[1].removesuffix(".parquet"):
        findings.problem(url, "its bytes are not those that its name tells of", mend)
        return None
    return pq.read_table(BytesIO(data)).cast(exclusions.ROWS)


def check_catalogue(findings: Findings, url: str) -> None:
    """catalogues/<id>.arrow, or the file that says which of them a phase was built over."""
    mend = "delete it and run `mmbert data` again, which writes it"
    name = url.rsplit("/", 1)[1]
    if name.endswith(".arrow"):
        data = findings.read(url, mend)
        if data is not None and sha256(data)[:ID_LENGTH] != name.removesuffix(".arrow"):
            findings.problem(url, "its bytes are not those that its name tells of", mend)
        return
    content = findings.record(url, mend)
    if content is None:
        return
    covered = {key: value for key, value in content.items() if key != "checksum"}
    if "checksum" not in content:
        findings.num_undigested += 1
    elif content["checksum"] != content_id(covered):
        findings.problem(url, "its content is not what its checksum tells of", mend)
    if not exists(join(findings.store.url, "catalogues", f"{content.get('catalogue')}.arrow")):
        findings.problem(url, "names no catalogue that is there", mend)


def check_name(findings: Findings, url: str) -> None:
    """manifests/<recipe>/<phase>/<name>.json points to a manifest that is there."""
    mend = "delete it and run `mmbert data` again"
    content = findings.record(url, mend)
    if content is not None:
        target = join(url.rsplit("/", 1)[0], str(content.get("manifest")), "manifest.json")
        if set(content) != {"manifest"} or not exists(target):
            findings.problem(url, "names no manifest that is there", mend)


def check_heldout(findings: Findings, url: str, strata: Mapping[str, Stratum]) -> None:
    mend = "delete it and run `mmbert data` again"
    content = findings.record(url, mend)
    if content is None:
        return
    covered = {key: value for key, value in content.items() if key != "id"}
    named = url.rsplit("/", 1)[1].removesuffix(".json")
    if content.get("id") != content_id(covered) or content["id"] != named:
        findings.problem(url, NOT_ITS_ID, mend)
        return
    for part in Heldout.model_validate(content).strata:
        folder = findings.store.resolve(part.folder)
        if not exists(join(folder, "stratum.json")):
            place = join(folder, "stratum.json")
            wrong = f"is missing, and {findings.store.relative(url)} names it"
            findings.problem(place, wrong, "run `mmbert data` again")
        elif folder in strata and part.shards != tuple(e.name for e in strata[folder].shards):
            findings.problem(url, f"names other shards than {part.folder} has", mend)


def check_tokenizer(findings: Findings, folder: str) -> None:
    """A sealed tokenizer: its files, and that the seal is that of its vocabulary."""
    mend = f"delete the folder {findings.store.relative(folder)} and run `mmbert data` again"
    for proof, _ in files_below(join(folder, "proofs")):  # of engines; their names are content ids
        delete = "delete it; it says what was compared, and nothing is made of it"
        content = findings.record(proof, delete)
        named = proof.rsplit("/", 1)[1].removesuffix(".json")
        if content is not None and content_id(content) != named:
            findings.problem(proof, NOT_ITS_ID, delete)
    before = len(findings.problems)
    findings.folder(folder, mend)
    url = join(folder, "seal.json")
    if len(findings.problems) > before:
        return
    try:
        sealed, tokenizer_json = seals.load(folder)
        expected = seals.seal(tokenizer_json, sealed.special, sealed.origin)
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        findings.problem(url, f"is no seal of the tokenizer beside it ({error})", mend)
        return
    if sealed != expected or folder != seals.seal_folder(findings.store.url, sealed.digest):
        findings.problem(url, "is no seal of the tokenizer beside it", mend)
