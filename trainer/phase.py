"""The data of one phase, ready for a trainer: numpy only, no torch.

    for pack in Phase(manifest_url).packs(rank, world, start): ...

The packs are a pure function of the manifest (trainer/order.py says which row, trainer/pack.py in
which pack), and the state is a place in their sequence: a window and a pack of it. A batch is the
next B packs, across windows, filled up to a multiple of W ranks with empty ones (None); rank r
takes packs r, r + W, ... of it. So the global batches are the same at any number of ranks and from
any state. The last batch of a phase may be short.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import RLock

import numpy as np

from schemas.arrow import numbers
from schemas.errors import UserError
from schemas.manifest import ORDER_VERSION, load, load_shards, store_of
from schemas.seal import Seal, require_same, seal_folder
from schemas.segments import line_of
from schemas.store import Store, join, read_bytes
from trainer.mask import Masked, mask, mask_key
from trainer.open_rows import OpenRows
from trainer.open_shards import OpenShards
from trainer.order import Schedule, phase_key
from trainer.pack import Pack, Piece
from trainer.plan import Planner, WindowPlan
from trainer.prefetch import prefetch
from trainer.steps import BEGIN, State, Steps

__all__ = ["BEGIN", "Batch", "Pack", "Phase", "Piece", "State", "WindowPlan"]

_OPEN_SHARDS = 4_096  # mapped at once; more than one for each of 1,833 languages
_PLANS = 2  # the window in training, the one being loaded; 5 MB for 150,000 rows
_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch, and what all ranks know of the whole."""

    packs: tuple[Pack | None, ...]  # this rank's; None is empty
    num_packs: int  # of the global batch, as are the next two
    num_targets: int
    tokens: int  # BOS and EOS counted
    first: State
    after: State
    clock_tokens: float  # at `first`


class _Tokens(dict[int, memoryview]):
    """The tokens of the shards that a window reads, by their place in the table; mapped when first
    read. To cut a memoryview costs half as much as an array, and there is one for each row."""

    def __init__(self, shards: OpenShards, window: int):
        super().__init__()
        self.window = window
        self._shards = shards

    def __missing__(self, index: int) -> memoryview:
        self[index] = self._shards.tokens(index).tokens.data
        return self[index]


class Phase:
    """A manifest and the store it lies in; UserError when the two do not fit this version."""

    def __init__(self, manifest_url: str, store: Store | None = None):
        self.manifest = load(manifest_url)
        self.store = store or store_of(manifest_url)
        if self.manifest.order_version != ORDER_VERSION:
            raise UserError(
                f"{manifest_url} has order version {self.manifest.order_version}, this version "
                f"of mmbert computes {ORDER_VERSION}; make it again: `mmbert data RECIPE`"
            )
        seal_url = join(seal_folder(self.store.url, self.manifest.tokenizer), "seal.json")
        sealed = Seal.model_validate_json(read_bytes(seal_url))
        require_same(sealed.digest, self.manifest.tokenizer, seal_url)
        self.special = sealed.special
        self.key = phase_key(self.manifest.seed, self.manifest.phase)
        table = load_shards(manifest_url)
        self._shards = OpenShards(self.manifest, table, self.store, self.key, _OPEN_SHARDS)
        self.line = line_of(self.store, self.manifest)
        strata = numbers(table.column("stratum"))
        self.rows = OpenRows(self.manifest, self._shards, self.store)
        schedule = Schedule.of(*self.line)
        self.planner = Planner(self.manifest, schedule, strata, self._shards, self.rows)
        self._plans: OrderedDict[int, WindowPlan] = OrderedDict()
        self._tokens = _Tokens(self._shards, 0)
        self._ramp = np.arange(self.manifest.context).data
        self._between = np.array([self.special.eos, self.special.bos], np.uint32).tobytes()
        self._lock = RLock()  # the prefetch thread plans too

    @property
    def windows(self) -> int:
        return self.manifest.windows

    @property
    def shards(self) -> OpenShards:
        return self._shards

    def plan(self, window: int) -> WindowPlan:
        with self._lock:
            found = self._plans.pop(window, None) or self.planner.plan(window)
            while len(self._plans) >= _PLANS:
                self._plans.popitem(last=False)
            self._plans[window] = found
            return found

    def pack(self, plan: WindowPlan, index: int) -> Pack:
        """Pack `index` of a window with its tokens."""
        self._shards.check()
        rows = slice(*plan.bounds[index : index + 2].tolist())
        shard, length, begin = plan.shard[rows], plan.length[rows], plan.begin[rows]
        tokens = self._tokens_of(plan.window)
        columns = (shard.tolist(), begin.tolist(), (begin + length).tolist())
        # Joined as bytes and widened at once: an assignment a row costs half as much again.
        joined = self._between.join([tokens[s][a:b] for s, a, b in zip(*columns, strict=True)])
        ids = np.empty(len(joined) // 4 + 2, np.int64)
        ids[0], ids[-1] = self.special.bos, self.special.eos
        ids[1:-1] = np.frombuffer(joined, np.uint32)
        sizes = length + 2
        ramps = bytearray().join([self._ramp[:size] for size in sizes.tolist()])
        cu_seqlens = np.zeros(sizes.size + 1, np.int32)
        np.cumsum(sizes, out=cu_seqlens[1:])
        return Pack(
            window=plan.window,
            index=index,
            ids=ids,
            positions=np.frombuffer(ramps, np.int64),
            cu_seqlens=cu_seqlens,
            stratum=plan.stratum[rows],
            shard=plan.digests[shard],
            document=plan.document[rows],
            start=plan.start[rows],
            length=length,
        )

    def _tokens_of(self, window: int) -> _Tokens:
        """Those of the shards of the window that is being loaded."""
        if self._tokens.window != window:
            self._tokens = _Tokens(self._shards, window)
        return self._tokens

    def mask(self, pack: Pack) -> Masked:
        """The pack's masked ids and targets at the phase's rate; no rank or step takes part."""
        key = mask_key(self.key, pack.window, pack.index)
        rate, vocab_size = self.manifest.mask_rate, self.manifest.vocab_size
        return mask(pack.ids, pack.eligible, rate, key, vocab_size, self.special)

    @property
    def steps(self) -> Steps:
        """How its packs are taken by global batches."""
        return Steps(
            self.windows, self.manifest.budget_tokens, lambda window: self.plan(window).num_packs
        )

    def clock(self, state: State) -> float:
        """Tokens of the budget done before a state; the whole budget at the end."""
        return self.steps.clock(state)

    def batches(
        self,
        rank: int = 0,
        world: int = 1,
        start: State = BEGIN,
        batch_packs: Callable[[float], int] | None = None,
    ) -> Iterator[Batch]:
        """This rank's batches from a state on, a few loaded ahead by one thread.

        `batch_packs` gives the packs of a global batch at a clock in tokens; default one a rank.
        """
        assert 0 <= rank < world, (rank, world)
        size = batch_packs or (lambda _: world)
        return prefetch(self._batches(rank, world, start, size), _BATCHES_AHEAD)

    def packs(self, rank: int = 0, world: int = 1, start: State = BEGIN) -> Iterator[Pack]:
        """This rank's packs from a state on."""
        for batch in self.batches(rank, world, start):
            yield from (pack for pack in batch.packs if pack is not None)

    def _batches(
        self, rank: int, world: int, start: State, batch_packs: Callable[[float], int]
    ) -> Iterator[Batch]:
        for step in self.steps.walk(start, batch_packs):
            plans = {window: self.plan(window) for window, _, _ in step.spans}
            targets = tokens = 0
            for window, first, last in step.spans:
                tokens += plans[window].tokens_before[last] - plans[window].tokens_before[first]
                targets += plans[window].targets_before[last] - plans[window].targets_before[first]
            mine, num_packs = step.packs[rank::world], len(step.packs)
            empty = -(-num_packs // world) - len(mine)
            yield Batch(
                (*(self.pack(plans[window], at) for window, at in mine), *[None] * empty),
                num_packs,
                targets,
                tokens,
                step.first,
                step.after,
                step.clock_tokens,
            )
        self._shards.require_whole()
