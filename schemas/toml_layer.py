"""TOML that remembers its lines: a file or a `--set` as one layer of a recipe.

In: a URL, or the text of a `--set`. Out: a `Layer`, the table and where each key stands, so that a
message about any key can name the line to mend.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import UserError
from schemas.store import read_bytes

Toml = str | int | float | bool | list["Toml"] | dict[str, "Toml"]  # dates have no use in a recipe
Table = dict[str, Toml]
Keys = tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """One place that keys come from, as a message names it."""

    name: str
    table: Table
    lines: Mapping[Keys, int]  # empty for a `--set`

    def where(self, keys: Keys) -> str:
        """`recipes/x.toml line 12`: the line of the key, else of the nearest table around it."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return f"{self.name} line {self.lines[keys]}" if keys else self.name


def read_layer(url: str) -> Layer:
    """UserError when there is no such file or it is not TOML."""
    name = url.removeprefix(f"{Path.cwd()}/")
    try:
        text = read_bytes(url).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {name}: {error}; give a TOML file in UTF-8") from None
    try:
        return Layer(name, tomllib.loads(text), _lines(text))
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = re.search(r"at line (\d+)", message)
        line = int(place[1]) if place else text.count("\n") + 1
        reason = message.split(" (at ")[0].lower()
        raise UserError(f"{name} line {line}: this is not TOML ({reason}); mend it") from None


def override_layer(text: str) -> Layer:
    """`a.b.c=value`: the value is TOML, or a plain string when it is none."""
    key, _, value = text.partition("=")
    example = "give a dotted key and a value, as in --set phases.pretrain.tau=0.5"
    try:
        table = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        raise UserError(f"--set {text}: {example}") from None
    if "=" not in text:
        raise UserError(f"--set {text}: {example}")
    try:
        table = tomllib.loads(f"{key} = {value}")
    except tomllib.TOMLDecodeError:
        _put(table, value.strip())
    return Layer(f"--set {text}", table, {})


def merge(base: Table, over: Table) -> Table:
    """`over` laid over `base`, table by table."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def at(table: Toml, keys: Keys) -> Toml | None:
    """What stands at a key, or None."""
    for key in keys:
        if isinstance(table, list) and key.isdigit() and int(key) < len(table):
            table = table[int(key)]
        elif isinstance(table, dict) and key in table:
            table = table[key]
        else:
            return None
    return table


def _lines(text: str) -> dict[Keys, int]:
    """The first line that says anything of a table or key."""
    lines: dict[Keys, int] = {}
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+([^\[\]]+)\]", line):
            found = table = _keys(header[1])
        elif key := re.match(r"\s*((?:[\w.-]+|\"[^\"]*\"|'[^']*')+)\s*=", line):
            found = table + _keys(key[1])
        else:
            continue
        for depth in range(1, len(found) + 1):
            lines.setdefault(found[:depth], number)
    return lines


def _keys(dotted: str) -> Keys:
    parts = re.findall(r"\"([^\"]*)\"|'([^']*)'|([\w-]+)", dotted)
    return tuple("".join(part) for part in parts)


def _put(table: Table, value: str) -> None:
    """Put a value at the end of a chain of one-key tables."""
    for key, inner in table.items():
        if isinstance(inner, dict):
            _put(inner, value)
        else:
            table[key] = value
