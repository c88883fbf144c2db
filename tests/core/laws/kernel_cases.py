"""The kernels that the laws are run on: one entry each, and the inputs that it is called with."""

import math
from collections.abc import Callable
from functools import partial

import torch
from tests.core.laws.case import Case, Length, Result, Size, Tensors
from torch import Tensor, nn, randn
from torch.nn import functional

from recurra.core.kernels import (
    delta_rule,
    fft_conv,
    fir,
    flashrnn,
    gated_linear_attention,
    linear_scan,
    mixed_chunk_attention,
    prefix_attention,
    selective_scan,
    ssd,
)
from recurra.core.kernels.flashrnn import CELLS


def kernel(
    name: str,
    draw: Callable[[Size], Tensors],
    run: Callable[[Tensors, Tensors | None, Length, str], Result],
    along_time: tuple[str, ...],
    **declared,
) -> Case:
    """Make the case of a function on tensors, whose stream starts from state None."""

    class Module(nn.Module):
        def __init__(self, inputs: Tensors) -> None:
            super().__init__()
            self.weights = nn.ParameterDict(
                {k: v for k, v in inputs.items() if k not in along_time}
            )

        def forward(self, inputs: Tensors, state: Tensors | None = None) -> Result:
            return run({**inputs, **dict(self.weights.items())}, state, None, "auto")

    return Case(
        name=name,
        draw=draw,
        run=run,
        module=Module,
        along_time=along_time,
        begin=lambda inputs: None,
        kernel=True,
        **{"causal": True, "streams": True, "linear_in": (), **declared},
    )


def scan_inputs(size: Size, *, decays: int | None = None) -> Tensors:
    """Decays between -0.5 and 1, for each of two heads or for each of their elements."""
    shape = size.rows, size.steps, 2
    return {
        "a": 1 - 1.5 * torch.rand(*shape, decays or size.width).double() ** 2,
        "b": randn(*shape, size.width),
    }


def run_scan(
    inputs: Tensors, state: Tensors | None, lengths: Length, backend: str, reverse: bool = False
) -> Result:
    h0 = None if state is None else state["h"]
    h, last = linear_scan(**inputs, h0=h0, reverse=reverse, lengths=lengths, backend=backend)
    return h, {"h": last}


def hold_scan(inputs: Tensors, decay: float) -> Tensors:
    return {**inputs, "a": torch.full_like(inputs["a"], decay)}


def hold_log(inputs: Tensors, decay: float) -> Tensors:
    return {**inputs, "log_a": torch.full_like(inputs["log_a"], math.log(decay))}


def hold_selective(inputs: Tensors, decay: float) -> Tensors:
    """The step times `a` is the logarithm of the decay."""
    a = torch.full_like(inputs["a"], math.log(decay))
    return {**inputs, "delta": torch.ones_like(inputs["delta"]), "a": a}


def fir_inputs(size: Size) -> Tensors:
    """Three taps, two channels to each output."""
    return {
        "x": randn(size.rows, size.steps, 2 * size.width),
        "taps": randn(3, size.width, 2),
    }


def run_fir(inputs: Tensors, state: Tensors | None, lengths: Length, backend: str) -> Result:
    before = None if state is None else state["x"]
    y, last = fir(**inputs, dilation=2, state=before, lengths=lengths, backend=backend)
    return y, {"x": last}


def long_kernel_inputs(size: Size) -> Tensors:
    return {"x": randn(size.rows, size.steps, size.width), "kernel": randn(9, size.width)}


def run_fft_conv(inputs: Tensors, state: Tensors | None, lengths: Length, backend: str) -> Result:
    before = None if state is None else state["x"]
    y, last = fft_conv(**inputs, state=before, lengths=lengths, backend=backend)
    return y, {"x": last}


def attention_inputs(size: Size) -> Tensors:
    """Two heads whose values are one wider than their keys; one step in four is masked."""
    shape = size.rows, size.steps
    return {
        "q": randn(2, size.width),
        "k": randn(*shape, 2, size.width),
        "v": randn(*shape, 2, size.width + 1),
        "mask": torch.rand(shape) > 0.25,
    }


def run_prefix(inputs: Tensors, state: Tensors | None, lengths: Length, backend: str) -> Result:
    before = None if state is None else state["prefix"]
    y, last = prefix_attention(**inputs, state=before, lengths=lengths, backend=backend)
    return y, {"prefix": last}


def ssd_inputs(size: Size) -> Tensors:
    """Four heads in two groups; keys and queries a little wider than the head."""
    shape = size.rows, size.steps
    return {
        "x": randn(*shape, 4, size.width),
        "log_a": -torch.rand(*shape, 4),
        "b": randn(*shape, 2, size.width + 1),
        "c": randn(*shape, 2, size.width + 1),
    }


def unit_key_inputs(size: Size) -> Tensors:
    """Two heads, keys of length one."""
    shape = size.rows, size.steps, 2
    return {
        "q": randn(*shape, size.width + 1),
        "k": functional.normalize(randn(*shape, size.width + 1), dim=-1),
        "v": randn(*shape, size.width),
    }


def delta_inputs(size: Size) -> Tensors:
    """A rate and a decay for each head."""
    shape = size.rows, size.steps, 2
    return unit_key_inputs(size) | {"beta": torch.rand(shape), "log_a": -torch.rand(shape)}


def gated_inputs(size: Size) -> Tensors:
    """A decay for each channel of the keys."""
    log_a = -torch.rand(size.rows, size.steps, 2, size.width + 1)
    return unit_key_inputs(size) | {"log_a": log_a}


def selective_inputs(size: Size) -> Tensors:
    shape = size.rows, size.steps
    return {
        "u": randn(*shape, size.width),
        "delta": torch.rand(*shape, size.width),
        "b": randn(*shape, 4),
        "c": randn(*shape, 4),
        "a": -torch.rand(size.width, 4),
        "d": randn(size.width),
    }


def cell_inputs(size: Size, *, cell: str) -> Tensors:
    """Two heads; an LSTM with its peepholes."""
    kind, heads = CELLS[cell], (2, size.width)
    peephole = {"peephole": randn(3, *heads)} if kind.takes_peephole else {}
    return {
        "wx": randn(size.rows, size.steps, kind.n_input, *heads),
        "r": randn(kind.n_recurrent, *heads, size.width) / size.width,
        "b": randn(kind.n_gates, *heads),
        **peephole,
    }


def run_cell(
    inputs: Tensors, state: Tensors | None, lengths: Length, backend: str, *, cell: str
) -> Result:
    before = None if state is None else state["states"]
    y, last = flashrnn(**inputs, states=before, cell=cell, lengths=lengths, backend=backend)
    return y, {"states": last}


def chunk_inputs(size: Size) -> Tensors:
    """Keys of both sums and values of three widths."""
    shape = size.rows, size.steps
    return {
        "q": randn(*shape, size.width),
        "k": randn(*shape, size.width),
        "q_linear": randn(*shape, size.width + 2),
        "k_linear": randn(*shape, size.width + 2),
        "v": randn(*shape, size.width + 1),
    }


def run_chunks(
    inputs: Tensors, state: Tensors | None, lengths: Length, backend: str, causal: bool
) -> Result:
    options = {"group": 4, "causal": causal, "lengths": lengths, "backend": backend}
    return mixed_chunk_attention(**inputs, state=state, **options)


def one_state(run: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., Result]:
    """Call a kernel that keeps one tensor as its state."""

    def call(inputs: Tensors, state: Tensors | None, lengths: Length, backend: str) -> Result:
        before = None if state is None else state["s"]
        y, last = run(**inputs, state=before, lengths=lengths, backend=backend)
        return y, {"s": last}

    return call


SCAN = {"along_time": ("a", "b"), "linear_in": ("b",), "decay": "a", "held": hold_scan}
ONE_WAY = {"causal": False, "streams": False}
CHUNKED = {"along_time": ("q", "k", "q_linear", "k_linear", "v"), "linear_in": ("v",)}

KERNELS = [
    kernel("linear_scan", scan_inputs, run_scan, **SCAN),
    kernel("linear_scan headwise", partial(scan_inputs, decays=1), run_scan, **SCAN),
    kernel("linear_scan reverse", scan_inputs, partial(run_scan, reverse=True), **SCAN | ONE_WAY),
    kernel("fir", fir_inputs, run_fir, ("x",), linear_in=("x",), keeps_inputs=True),
    kernel(
        "fft_conv", long_kernel_inputs, run_fft_conv, ("x",), linear_in=("x",), keeps_inputs=True
    ),
    kernel(
        "prefix_attention",
        attention_inputs,
        run_prefix,
        ("k", "v", "mask"),
        linear_in=("v",),
        mask="mask",
    ),
    kernel(
        "mixed_chunk_attention",
        chunk_inputs,
        partial(run_chunks, causal=False),
        **CHUNKED | ONE_WAY,
    ),
    kernel(
        "mixed_chunk_attention causal", chunk_inputs, partial(run_chunks, causal=True), **CHUNKED
    ),
    kernel(
        "ssd",
        ssd_inputs,
        one_state(ssd),
        ("x", "log_a", "b", "c"),
        linear_in=("x",),
        held=hold_log,
    ),
    kernel(
        "gated_linear_attention",
        gated_inputs,
        one_state(gated_linear_attention),
        ("q", "k", "v", "log_a"),
        linear_in=("v",),
        held=hold_log,
    ),
    kernel(
        "delta_rule",
        delta_inputs,
        one_state(delta_rule),
        ("q", "k", "v", "beta", "log_a"),
        linear_in=("v",),
        held=hold_log,
        loops=True,
    ),
    kernel(
        "selective_scan",
        selective_inputs,
        one_state(selective_scan),
        ("u", "delta", "b", "c"),
        linear_in=("u",),
        held=hold_selective,
    ),
    *(
        kernel(
            f"flashrnn {cell}",
            partial(cell_inputs, cell=cell),
            partial(run_cell, cell=cell),
            ("wx",),
            loops=True,
        )
        for cell in CELLS
    ),
]
