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
import pyarrow.compute as pc

from pipelines.contamination import contaminated
from pipelines.duplicates import duplicates, find_groups
from pipelines.takedowns import takedowns
from schemas.catalogue import Catalogue
from schemas.recipe import Recipe
from schemas.rows import RowCount, count_each
from schemas.seal import Seal
from schemas.store import Store


def exclusion_lists(
    recipe: Recipe, store: Store, sealed: Seal, catalogue: Catalogue, read: Iterable[int]
) -> tuple[pa.Table, ...]:
    """The lists (exclusions.ROWS) of a phase that reads some of the strata; empty ones left out.

    What was found in a set of strata is kept in the store, so that the next mixture of them only
    looks it up.
    """
    places = sorted(read)
    groups = find_groups(store, catalogue, list(recipe.sources))
    lists = [duplicates(groups, {catalogue.strata[place].id for place in places})]
    others = []
    if recipe.exclusions.contamination:
        others.append(contaminated(store, sealed, catalogue, recipe.exclusions.contamination))
    if recipe.exclusions.takedowns:
        others.append(takedowns(store, catalogue, recipe.exclusions.takedowns))
    if others:
        mine = np.isin(catalogue.shards.column("stratum").to_numpy(), places)
        digests = catalogue.shards.column("digest").filter(pa.array(mine)).combine_chunks()
        lists += [rows.filter(pc.is_in(rows.column("shard"), digests)) for rows in others]
    return tuple(table for table in lists if table.num_rows)


def rows_excluded(lists: Sequence[pa.Table], context: int) -> dict[str, RowCount]:
    """What exclusion lists (exclusions.ROWS) take off each shard, by digest, at a context."""
    if not any(table.num_rows for table in lists):
        return {}
    rows = pa.concat_tables([table.select(["shard", "document", "num_tokens"]) for table in lists])
    rows = rows.group_by(["shard", "document"]).aggregate([("num_tokens", "max")])
    shards = rows.column("shard").combine_chunks().dictionary_encode()
    each = count_each(rows.column("num_tokens_max").to_numpy(), context)
    sums = np.zeros((len(shards.dictionary), each.shape[0]), np.int64)
    np.add.at(sums, shards.indices.to_numpy(), each.T)
    digests = shards.dictionary.to_pylist()
    return {d: RowCount(*count) for d, count in zip(digests, sums.tolist(), strict=True)}
