"""Exclusion lists: what a phase does not deliver of the strata that it reads, and why.

    cross-source duplicates    pipelines/duplicates.py       always
    contamination              pipelines/contamination.py    [exclusions] contamination
    takedowns                  pipelines/takedowns.py        [exclusions] takedowns

Strata never change because of another, so such documents stay in their shards and each kind goes
onto a list of the phase. A document may stand on several lists; it is taken off once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from pipelines.duplicates import duplicates, find_groups
from schemas.catalogue import Catalogue
from schemas.recipe import Recipe
from schemas.rows import RowCount, count_rows
from schemas.seal import Seal
from schemas.store import Store


def exclusion_lists(
    recipe: Recipe, store: Store, sealed: Seal, catalogue: Catalogue, read: Iterable[int]
) -> tuple[pa.Table, ...]:
    """The lists (exclusions.ROWS) of a phase that reads some of the strata; empty ones left out.

    What was found in a set of strata is kept in the store, so that the next mixture of them only
    looks it up.
    """
    ids = {catalogue.strata[place].id for place in read}
    groups = find_groups(store, catalogue, list(recipe.sources))
    lists = [duplicates(groups, ids)]
    return tuple(table for table in lists if table.num_rows)


def rows_excluded(lists: Sequence[pa.Table], context: int) -> dict[str, RowCount]:
    """What exclusion lists (exclusions.ROWS) take off each shard, by digest, at a context."""
    lengths: dict[str, dict[int, int]] = {}
    for table in lists:
        columns = (table.column(name).to_pylist() for name in ("shard", "document", "num_tokens"))
        for digest, document, length in zip(*columns, strict=True):
            lengths.setdefault(digest, {})[document] = length
    return {
        digest: count_rows(np.array([*found.values()], np.int64), context)
        for digest, found in lengths.items()
    }
