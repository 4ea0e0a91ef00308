"""Which text of an origin is held out, where its source ships no test split.

In: how many documents each group of near-duplicates has (pipelines/near.py). Out: the groups that
are held out, whole, so that no near-duplicate of held-out text is trained on.
"""

from __future__ import annotations

from collections.abc import Iterable

from schemas.recipe import HeldOut


def num_held_out(documents: int, heldout: HeldOut) -> int:
    """How many of a stratum's documents are held out: a share, at least 1; none of a tiny one."""
    if documents < heldout.min_stratum_documents:
        return 0
    return max(1, min(heldout.max_documents, round(documents * heldout.share)))


def hold_out(groups: Iterable[tuple[int, int]], count: int, documents: int) -> frozenset[int]:
    """Which of the groups (hash, documents), in the order of their hashes, are held out.

    As many as come to `count` of all `documents`, or to fewer. One that is larger is not: texts
    that only share a frame hash alike, too, and would take most of a stratum with them. Where every
    group is larger, the smallest is held out if it is a tenth of the documents or less.
    """
    groups = list(groups)
    chosen, left = set(), count
    for group, size in groups:
        if size <= left:
            chosen.add(group)
            left -= size
    if count and not chosen:
        size, group = min((size, group) for group, size in groups)
        chosen = {group} if 10 * size <= documents else set()
    return frozenset(chosen)
