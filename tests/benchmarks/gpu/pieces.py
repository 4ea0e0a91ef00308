"""The pieces of a step, each ready to be run alone: forward and backward on inputs of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tests.benchmarks.gpu.cells import Bench
from tests.benchmarks.gpu.inputs import Pack
from tests.benchmarks.gpu.work import Work, fresh, optimiser_of
from trainer.attention import attention
from trainer.cross_entropy import summed_cross_entropy
from trainer.model import _keep
from trainer.rotary import rotate, rotation

Run = Callable[[], object]


class Pieces:
    """Of one model and one of its packs; each method prepares inputs and returns what to time."""

    def __init__(self, bench: Bench, work: Work) -> None:
        self.bench = bench
        self.config = work.config
        self.theta = work.phase.theta
        self.context = work.phase.context
        self.pack: Pack = work.packs[0]
        self.model = fresh(work, bench.device)
        self.layer = self.model.model.layers[1]
        self.num_tokens = self.pack.inputs[0].numel()

    def look_up(self) -> Run:
        table = self.model.model.embeddings.tok_embeddings
        return self._both(lambda: table(self.pack.inputs[0]), [], [table])

    def norm(self) -> Run:
        h_TH = self._activation(torch.float32)
        return self._both(lambda: self.layer.mlp_norm(h_TH), [h_TH], [self.layer.mlp_norm])

    def rotation(self) -> Run:
        config = self.config
        shape = self.num_tokens, 3, config.num_heads, config.head_dim
        qkv_T3ND = self._numbers(shape, torch.bfloat16)
        angles = rotation(self.pack.inputs[1], config.max_position, config.head_dim, self.theta)
        return self._both(lambda: rotate(qkv_T3ND, angles), [qkv_T3ND], [])

    def attention(self, half_window: int | None) -> Run:
        shape = self.num_tokens, 3, self.config.num_heads, self.config.head_dim
        qkv_T3ND = self._numbers(shape, torch.bfloat16)
        q, k, v = qkv_T3ND.detach().unbind(1)
        inputs = [x.requires_grad_() for x in (q, k, v)]
        bounds = self.pack.inputs[2]
        return self._both(lambda: attention(q, k, v, bounds, self.context, half_window), inputs, [])

    def matrices(self) -> Run:
        x_TH, y_TH = self._activation(torch.bfloat16), self._activation(torch.bfloat16)
        attn, mlp = self.layer.attn, self.layer.mlp

        return self._both(
            lambda: (mlp(x_TH), attn.Wo(y_TH), attn.Wqkv(x_TH)), [x_TH, y_TH], [attn, mlp]
        )

    def sums(self) -> Run:
        h_TH = self._activation(torch.float32)
        out_TH, more_TH = self._activation(torch.bfloat16), self._activation(torch.bfloat16)

        def run() -> Tensor:
            keep_TH = _keep(h_TH, self.config.attn_out_dropout, 1, 1)
            assert keep_TH is not None
            return h_TH + out_TH * keep_TH + more_TH

        return self._both(run, [h_TH, out_TH, more_TH], [])

    def head(self) -> Run:
        h_TH = self._activation(torch.float32)
        at_M, targets_M = self.pack.inputs[4:]
        decoder, head = self.model.decoder, self.model.head

        def run() -> Tensor:
            h_MH = head(h_TH.index_select(0, at_M))
            return summed_cross_entropy(h_MH, decoder.weight, decoder.bias, targets_M)

        return self._both(run, [h_TH], [head, decoder])

    def optimiser(self) -> Run:
        optimiser = optimiser_of(self.model)
        for p in self.model.parameters():
            p.grad = torch.randn_like(p)
        return optimiser.step

    def _activation(self, dtype: torch.dtype) -> Tensor:
        return self._numbers((self.num_tokens, self.config.hidden_size), dtype)

    def _numbers(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.randn(*shape, device=self.bench.device).to(dtype).requires_grad_()

    def _both(
        self,
        run: Callable[[], Tensor | tuple[Tensor, ...]],
        inputs: list[Tensor],
        of: list[nn.Module],
    ) -> Run:
        """Forward under autocast, and the gradients of inputs and weights."""
        wanted = [*inputs, *(p for module in of for p in module.parameters())]
        with self.bench.autocast():
            out = run()
        outputs = out if isinstance(out, tuple) else (out,)
        upstream = tuple(torch.randn_like(x) for x in outputs)

        def both() -> None:
            with self.bench.autocast():
                out = run()
            torch.autograd.grad(out, wanted, upstream)

        return both
