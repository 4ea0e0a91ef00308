"""Source code in StarCoder's columns: one Parquet file for each programming language.

A file of code is a few functions of `programs.toml`, their slots filled at random. `code` is a
member of mmBERT's language sets like any other, so a sample has some; a recipe reads it as

    [sources.code]
    path = "sample/code"
    format = "documents"
    language = "code_Zyyy"
    fields = { text = "content" }
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

import pyarrow as pa

from pipelines.sample.documents import Document
from pipelines.sample.draws import Draws
from pipelines.sample.fineweb2 import write_parquet

SCHEMA = pa.schema(
    [
        ("max_stars_repo_path", pa.string()),
        ("max_stars_repo_name", pa.string()),
        ("max_stars_count", pa.int64()),
        ("id", pa.string()),
        ("content", pa.string()),
    ]
)


@dataclass(frozen=True)
class ProgrammingLanguage:
    """`functions` are templates; `words` fill their slots."""

    name: str
    suffix: str
    functions: tuple[Template, ...]
    words: dict[str, tuple[str, ...]]

    def program(self, draws: Draws) -> str:
        """One to five different functions, a blank line between them."""
        chosen = draws.sample(self.functions, draws.between(1, 5))
        return "\n".join(self._function(template, draws) for template in chosen)

    def _function(self, template: Template, draws: Draws) -> str:
        slots = {slot: draws.pick(words) for slot, words in self.words.items()}
        slots["Noun"] = slots["noun"].title()
        slots["number"] = str(draws.between(2, 999))
        return template.substitute(slots).strip() + "\n"


@cache
def programming_languages() -> tuple[ProgrammingLanguage, ...]:
    """The languages of `programs.toml`, in its order."""
    path = Path(__file__).parent / "programs.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    words = {slot: tuple(found) for slot, found in tables.pop("words").items()}
    return tuple(
        ProgrammingLanguage(name, t["suffix"], tuple(map(Template, t["functions"])), words)
        for name, t in tables.items()
    )


def programs(language: ProgrammingLanguage, draws: Draws, num_bytes: float) -> Iterator[str]:
    """Different files of one language, `num_bytes` together or a little more."""
    seen: set[str] = set()
    while num_bytes > 0:
        text = language.program(draws)
        if text not in seen:
            seen.add(text)
            num_bytes -= len(text)
            yield text


def write_code(
    path: Path, language: ProgrammingLanguage, documents: list[Document], draws: Draws
) -> None:
    """Write the files of one programming language with made-up repositories."""
    path.parent.mkdir(parents=True)
    rows = [
        {
            "max_stars_repo_path": f"src/{document.id}.{language.suffix}",
            "max_stars_repo_name": f"example/{draws.below(10**6):06}",
            "max_stars_count": int(draws.log_normal(8, 1.5)),
            "id": document.id,
            "content": document.text,
        }
        for document in documents
    ]
    write_parquet(path, pa.Table.from_pylist(rows, schema=SCHEMA))
