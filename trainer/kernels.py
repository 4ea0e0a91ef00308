"""The variable-length FlashAttention at hand, found by what it can do and not by a version.

    flash-attn   the package, where it is installed
    torch        the one inside torch, `torch.nn.attention.varlen`

A kernel counts when it runs here, forward and backward: a package built for another device, or a
device older than Ampere, is no error but a warning and the plain form of `attention`. Where torch's
own knows no windows (before 2.11), it still serves the global layers, and the local ones go plain.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

# q, k, v [T, N, D], cu_seqlens [documents + 1] int32, a bound on their lengths, the half window.
Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, int, int | None], Tensor]


def flash_attn(windowed: bool) -> Kernel | None:
    """The package's, which always knows windows."""
    try:
        from flash_attn import flash_attn_varlen_func  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None

    def run(q: Tensor, k: Tensor, v: Tensor, cu: Tensor, longest: int, half: int | None) -> Tensor:
        window = (-1, -1) if half is None else (half, half)
        out: Tensor = flash_attn_varlen_func(q, k, v, cu, cu, longest, longest, window_size=window)
        return out

    return run


def torch_varlen(windowed: bool) -> Kernel | None:
    """torch's own; None for local layers where it knows no windows."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    if windowed and "window_size" not in inspect.signature(varlen_attn).parameters:
        return None

    def run(q: Tensor, k: Tensor, v: Tensor, cu: Tensor, longest: int, half: int | None) -> Tensor:
        if half is None:
            out = varlen_attn(q, k, v, cu, cu, longest, longest)
        else:
            out = varlen_attn(q, k, v, cu, cu, longest, longest, window_size=(half, half))
        assert isinstance(out, Tensor)  # and not (out, lse), which is not asked for
        return out

    return run


KERNELS = {"flash-attn": flash_attn, "torch": torch_varlen}  # the first that runs is taken

# A dictionary, not functools.cache: torch.compile reads it, where it would trace a cached function.
_FOUND: dict[tuple[torch.dtype, bool], Kernel | None] = {}


def kernel(device: str, dtype: torch.dtype, windowed: bool) -> Kernel | None:
    """What attends on a kind of device in a precision; None where only the plain form does."""
    if device != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return None
    key = dtype, windowed
    if key not in _FOUND:
        _FOUND[key] = _first_that_runs(dtype, windowed)
    return _FOUND[key]


def refusal(run: Kernel, dtype: torch.dtype, windowed: bool, device: str = "cuda") -> str | None:
    """Why a kernel does not run here, tried on two tokens; None where it does."""
    with torch.inference_mode(False), torch.enable_grad():
        qkv = torch.zeros(2, 3, 1, 64, device=device, dtype=dtype, requires_grad=True)
        bounds = torch.tensor([0, 2], device=device, dtype=torch.int32)
        try:
            q, k, v = qkv.unbind(1)
            run(q, k, v, bounds, 2, 1 if windowed else None).sum().backward()
        except (RuntimeError, TypeError) as error:  # what torch and extensions raise
            return str(error).splitlines()[0]
    return None


def _first_that_runs(dtype: torch.dtype, windowed: bool) -> Kernel | None:
    for name, find in KERNELS.items():
        run = find(windowed)
        why = refusal(run, dtype, windowed) if run is not None else None
        if run is not None and why is None:
            return run
        if why is not None:
            warnings.warn(f"attention goes without {name}, which does not run: {why}", stacklevel=3)
    return None
