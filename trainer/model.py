"""ModernBERT as mmBERT configures it, over packs of documents without padding.

    h    = norm(E[ids])
    h   += dropout(Wo attention(rotate(Wqkv norm(h))))     layer 0 has no norm here
    h   += Wo (gelu(a) * g),  [a; g] = Wi norm(h)
    loss = sum over targets of -log softmax(E norm(gelu(W h)) + b)[target]

Every third layer attends to its whole document, the others to 64 tokens on each side. Parameters
are named as `transformers.ModernBertForMaskedLM` names them, so state dicts load `strict=True` both
ways. The loss is computed inside `forward`, where DDP and FSDP expect it, and the head runs at the
targets only. Build it with `build(config, seed)`.

Shapes: T tokens, M targets, H hidden, I intermediate, N heads, D head dimension, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from schemas.errors import UserError
from schemas.keyed import key64, keyed
from trainer.attention import attention
from trainer.cross_entropy import cross_entropy, summed_cross_entropy
from trainer.rotary import rotate, rotation
from trainer.theta import Theta

DROPOUT = key64("dropout")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and constants; the token ids are those of mmBERT's tokenizer."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    global_every: int = 3
    local_window: int = 128
    norm_eps: float = 1e-5
    attn_out_dropout: float = 0.1
    initializer_range: float = 0.02
    initializer_cutoff: float = 2.0
    max_position: int = 8192
    pad_id: int = 0
    eos_id: int = 1
    bos_id: int = 2
    unk_id: int = 3
    mask_id: int = 4
    sep_id: int = 1
    cls_id: int = 1  # the released configuration's value, though sequences start with bos

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads

    def is_global(self, layer: int) -> bool:
        return layer % self.global_every == 0

    def validate(self) -> None:
        """Raises UserError for sizes that make no model."""
        if self.hidden_size % (2 * self.num_heads):
            raise UserError(
                f"model.hidden_size {self.hidden_size} is not a multiple of 2 x model.num_heads "
                f"({self.num_heads}): choose a hidden size of {2 * self.num_heads} x n"
            )
        if self.local_window < 2 or self.local_window % 2:
            raise UserError(
                f"model.local_window {self.local_window} must be even and at least 2: half of it "
                "lies on each side of a token"
            )
        if max(self.pad_id, self.eos_id, self.bos_id, self.unk_id, self.mask_id) >= self.vocab_size:
            raise UserError(
                f"a special id lies outside the vocabulary of {self.vocab_size}: "
                "check tokenizer and model.vocab_size"
            )


def num_parameters(config: ModelConfig) -> int:
    """Parameters of the model with its head; the decoder's weights are the embedding's."""
    h = config.hidden_size
    layer = 4 * h * h + 3 * h * config.intermediate_size + 2 * h
    embedding = config.vocab_size * h + h
    head = h * h + h + config.vocab_size
    return embedding + config.num_layers * layer - h + h + head  # less layer 0's norm, final norm


class Documents(NamedTuple):
    """Which document each token of a pack belongs to (see `attention`)."""

    cu_seqlens: Tensor
    max_seqlen: int


class Embeddings(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.norm = _norm(config)

    def forward(self, ids_T: Tensor) -> Tensor:
        return self.norm(self.tok_embeddings(ids_T))


class Attention(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.shape = 3, config.num_heads, config.head_dim
        self.half_window = None if config.is_global(layer) else config.local_window // 2
        self.Wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.Wo = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x_TH: Tensor, rotation_T2D: Tensor, documents: Documents) -> Tensor:
        q_TND, k_TND, v_TND = rotate(self.Wqkv(x_TH).unflatten(-1, self.shape), rotation_T2D)
        o_TND = attention(q_TND, k_TND, v_TND, *documents, half_window=self.half_window)
        return self.Wo(o_TND.flatten(1))


class MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.Wi = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.Wo = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_TH: Tensor) -> Tensor:
        a_TI, gate_TI = self.Wi(x_TH).chunk(2, -1)
        return self.Wo(F.gelu(a_TI) * gate_TI)


class Layer(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attn_norm = nn.Identity() if layer == 0 else _norm(config)
        self.attn = Attention(config, layer)
        self.mlp_norm = _norm(config)
        self.mlp = MLP(config)

    def forward(
        self, h_TH: Tensor, rotation_T2D: Tensor, documents: Documents, keep_TH: Tensor | None
    ) -> Tensor:
        """`keep` scales the attention's output: 0 where dropped, else 1 / (1 - p)."""
        out_TH = self.attn(self.attn_norm(h_TH), rotation_T2D, documents)
        h_TH = h_TH + (out_TH if keep_TH is None else out_TH * keep_TH)
        return h_TH + self.mlp(self.mlp_norm(h_TH))


class Encoder(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList([Layer(config, i) for i in range(config.num_layers)])
        self.final_norm = _norm(config)

    def forward(
        self,
        ids_T: Tensor,
        positions_T: Tensor,
        documents: Documents,
        theta: Theta,
        dropout_key: int | None,
    ) -> Tensor:
        config = self.config
        h_TH = self.embeddings(ids_T)
        full = rotation(positions_T, config.max_position, config.head_dim, theta.full)
        local = rotation(positions_T, config.max_position, config.head_dim, theta.local)
        for i, layer in enumerate(self.layers):
            # Drawn out here, so that a layer is a pure function (and can be compiled as one).
            keep_TH = _keep(h_TH, config.attn_out_dropout, dropout_key, i)
            h_TH = layer(h_TH, full if config.is_global(i) else local, documents, keep_TH)
        return self.final_norm(h_TH)


class Head(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.norm = _norm(config)

    def forward(self, h_MH: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(h_MH)))


class ModernBert(nn.Module):
    """The encoder with its masked-language-model head; the decoder's weights are the embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        config.validate()
        self.config = config
        self.model = Encoder(config)
        self.head = Head(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.tie_weights()

    def tie_weights(self) -> None:
        """Again after anything that replaces parameters, such as `to_empty`."""
        self.decoder.weight = self.model.embeddings.tok_embeddings.weight

    def forward(
        self,
        ids_T: Tensor,
        positions_T: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        target_positions_M: Tensor,
        target_ids_M: Tensor,
        theta: float | Theta,
        dropout_key: int | None = None,
    ) -> Tensor:
        """The sum over targets of their cross entropy in nats, a float32 scalar.

        Divide by the targets of the whole global batch, not by M. Without a `dropout_key` nothing
        is dropped; with one, the mask of a layer depends on the key and the layer alone. A pack
        without targets gives 0 and zero gradients for every parameter.
        """
        documents = Documents(cu_seqlens, max_seqlen)
        h_MH = self._at(ids_T, positions_T, documents, target_positions_M, theta, dropout_key)
        return summed_cross_entropy(h_MH, self.decoder.weight, self.decoder.bias, target_ids_M)

    @torch.no_grad()
    def nll(
        self,
        ids_T: Tensor,
        positions_T: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        target_positions_M: Tensor,
        target_ids_M: Tensor,
        theta: float | Theta,
    ) -> Tensor:
        """The cross entropy of each target in nats, float32 [M]: the held-out score."""
        documents = Documents(cu_seqlens, max_seqlen)
        h_MH = self._at(ids_T, positions_T, documents, target_positions_M, theta, None)
        return cross_entropy(h_MH, self.decoder.weight, self.decoder.bias, target_ids_M)

    def logits(
        self,
        ids_T: Tensor,
        positions_T: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        at_positions_M: Tensor,
        theta: float | Theta,
    ) -> Tensor:
        """Logits [M, V] at the positions asked for."""
        documents = Documents(cu_seqlens, max_seqlen)
        h_MH = self._at(ids_T, positions_T, documents, at_positions_M, theta, None)
        return self.decoder(h_MH)

    def _at(
        self,
        ids_T: Tensor,
        positions_T: Tensor,
        documents: Documents,
        at_positions_M: Tensor,
        theta: float | Theta,
        dropout_key: int | None,
    ) -> Tensor:
        theta = theta if isinstance(theta, Theta) else Theta(theta, theta)
        h_TH = self.model(ids_T, positions_T, documents, theta, dropout_key)
        return self.head(h_TH.index_select(0, at_positions_M))


def _norm(config: ModelConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=False)


def _keep(like_TH: Tensor, p: float, dropout_key: int | None, layer: int) -> Tensor | None:
    if dropout_key is None or p == 0:
        return None
    generator = torch.Generator(like_TH.device)
    generator.manual_seed(keyed(dropout_key, DROPOUT, layer) >> 1)
    keep_TH = torch.empty_like(like_TH, requires_grad=False).bernoulli_(1 - p, generator=generator)
    return keep_TH.div_(1 - p)
