"""The tokenizer seal: the digest that every shard, manifest and run carries (invariant I10).

The digest covers what decides the ids: the canonical content of tokenizer.json (vocabulary,
merges, normaliser, added tokens) and the special ids. It does not cover paths or file dates.
"""

from __future__ import annotations

import json
from typing import Any

from schemas import folder_digests
from schemas.digest import canonical, sha256
from schemas.errors import UserError
from schemas.ledger import Frozen
from schemas.store import join, json_file, read_bytes, write_bytes, write_json


class SpecialIds(Frozen):
    """mmBERT's ids by default (the Gemma 2 vocabulary)."""

    pad: int = 0
    eos: int = 1
    bos: int = 2
    unk: int = 3
    mask: int = 4

    def ids(self) -> tuple[int, ...]:
        return tuple(sorted({self.pad, self.eos, self.bos, self.unk, self.mask}))


class Seal(Frozen):
    """`tokenizers/<digest>/seal.json`."""

    digest: str
    vocab_size: int
    special: SpecialIds
    prefix_space: bool
    origin: str  # how it was made: "trained" or the name it was read from; not part of the digest


def seal(tokenizer_json: bytes, special: SpecialIds, origin: str) -> Seal:
    """The seal of a `tokenizers` file."""
    content = json.loads(tokenizer_json)
    # Truncation and padding are a user's settings of one session, not part of the vocabulary.
    content["truncation"] = content["padding"] = None
    digest = sha256(canonical({"tokenizer": content, "special": special.model_dump()}))
    return Seal(
        digest=digest,
        vocab_size=max(_ids(content)) + 1,
        special=special,
        prefix_space=_adds_space(content.get("normalizer"))
        or _adds_space(content.get("pre_tokenizer")),
        origin=origin,
    )


def _adds_space(step: dict[str, Any] | None) -> bool:
    """Whether a normaliser or pre-tokeniser puts a space before a text that has none.

    The digest covers these steps whole; this is for a person to read.
    """
    if step is None:
        return False
    parts = [*(step.get("normalizers") or []), *(step.get("pretokenizers") or [])]
    return (
        step.get("type") == "Prepend"
        or step.get("prepend_scheme") in ("always", "first")
        or ("prepend_scheme" not in step and step.get("add_prefix_space") is True)
        or any(map(_adds_space, parts))
    )


def require_special(tokenizer_json: bytes, special: SpecialIds, where: str) -> None:
    """UserError when `special` are not the special tokens of a `tokenizers` file.

    All but the unknown token must be four added tokens that are marked special: others would be
    read out of the text. A vocabulary with byte pieces needs no unknown token, so any will do.
    """
    content = json.loads(tokenizer_json)
    marked = {token["id"] for token in content.get("added_tokens") or [] if token.get("special")}
    named = {"pad": special.pad, "eos": special.eos, "bos": special.bos, "mask": special.mask}
    for name, token in named.items():
        if token not in marked or list(named.values()).count(token) > 1:
            raise UserError(
                f"{where}: tokenizer.special.{name} = {token} is not a special token of its own "
                f"there (special are {sorted(marked)}); set [tokenizer.special] to the ids of "
                "that tokenizer"
            )
    if special.unk not in _ids(content):
        raise UserError(
            f"{where}: tokenizer.special.unk = {special.unk} is not in the vocabulary; set "
            "[tokenizer.special] to the ids of that tokenizer"
        )


def _ids(content: dict[str, Any]) -> set[int]:
    vocabulary = content["model"]["vocab"]  # of Unigram a list
    ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    return {*ids, *(token["id"] for token in content.get("added_tokens") or [])}


def seal_folder(store_url: str, digest: str) -> str:
    return join(store_url, "tokenizers", digest[:16])


def save(store_url: str, sealed: Seal, tokenizer_json: bytes) -> str:
    """Write the tokenizer into the store, seal last; returns its folder."""
    folder = seal_folder(store_url, sealed.digest)
    write_bytes(join(folder, "tokenizer.json"), tokenizer_json)
    content = sealed.model_dump(mode="json")
    digests = {"tokenizer.json": sha256(tokenizer_json), "seal.json": sha256(json_file(content))}
    folder_digests.write(folder, digests)
    write_json(join(folder, "seal.json"), content)
    return folder


def load(folder: str) -> tuple[Seal, bytes]:
    """The seal and tokenizer.json of a folder; UserError when the two do not belong together."""
    sealed = Seal.model_validate_json(read_bytes(join(folder, "seal.json")))
    tokenizer_json = read_bytes(join(folder, "tokenizer.json"))
    require_same(seal(tokenizer_json, sealed.special, sealed.origin).digest, sealed.digest, folder)
    return sealed, tokenizer_json


def require_same(found: str, expected: str, where: str) -> None:
    """UserError naming both digests when two seals differ."""
    if found != expected:
        raise UserError(
            f"{where}: made with tokenizer {found[:16]}, but {expected[:16]} is expected; "
            "use the tokenizer it was built with or rebuild it with this one"
        )
