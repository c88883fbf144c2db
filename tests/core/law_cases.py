"""The kernels and layers that `test_laws.py` runs, and what each declares: one entry each.

A case draws named inputs and calls the thing on them. Inputs named in `along_time` are (row, step,
...); all others are weights, which the rows share. A state is a dict of tensors, axis 0 the row.
From the declarations follows which laws are called for (`CALLED_FOR`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn, randn
from torch.func import functional_call
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
from recurra.core.layers import (
    RNN,
    DenseFsmn,
    Fsmn,
    GatedAttention,
    GatedDeltaNet,
    GatedFsmn,
    Mamba2,
    NGramHead,
    PrefixAttention,
    RotaryEmbedding,
    SwiGLU,
)

Tensors = dict[str, Tensor]
Result = tuple[Tensor, Tensors]
Length = Tensor | None


@dataclass(frozen=True)
class Size:
    """How large inputs are drawn; `width` is the head's or the layer's."""

    rows: int = 2
    steps: int = 7
    width: int = 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """A kernel or a layer, how to call it, and what it declares about itself.

    `run(inputs, state, lengths, backend)` gives (y, state). `module(inputs)` is the same as a
    module that holds the weights: `module({along time}, state)`. `begin(inputs)` is the state that
    a stream starts from, `flush(inputs, state)` the steps that a look-ahead left over.
    """

    name: str
    draw: Callable[[Size], Tensors]
    run: Callable[[Tensors, Tensors | None, Length, str], Result]
    module: Callable[[Tensors], nn.Module]
    along_time: tuple[str, ...]
    begin: Callable[[Tensors], Tensors | None]
    causal: bool
    streams: bool
    linear_in: tuple[str, ...]  # y is linear in these (and the state) together
    look_ahead: int = 0
    flush: Callable[[Tensors, Tensors], Tensor] | None = None  # what a look-ahead calls for
    state_size: Callable[[Size], int] | None = None  # numbers a row keeps
    kernel: bool = False  # has a backend="reference", and works on 16-bit inputs
    takes_lengths: bool = True
    keeps_inputs: bool = False  # its state is past inputs, in their dtype, not an accumulation
    mask: str | None = None  # the boolean input that says which steps are attended to
    decay: str | None = None  # the input that may not have 16 bits; a logarithm of decays may
    held: Callable[[Tensors, float], Tensors] | None = None  # inputs with that decay throughout
    loops: bool = False  # a loop over the steps, which exports at a fixed T only
    compiles: bool = True  # torch.compile does not trace nn.LSTM and its kin

    def inputs(self, size: Size, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensors:
        """Draw inputs; where `dtype` has 16 bits, the decay is in float32."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.cast(self.draw(size), dtype)

    def cast(self, inputs: Tensors, dtype: torch.dtype) -> Tensors:
        """Return the inputs in `dtype`; the decay of a kernel is never in 16 bits."""
        wide = torch.promote_types(dtype, torch.float32)
        return {
            name: x.to(wide if name == self.decay else dtype) if x.is_floating_point() else x
            for name, x in inputs.items()
        }

    def state(self, size: Size, seed: int = 9, dtype: torch.dtype = torch.float64) -> Tensors:
        """Return a state that is not zero: the one after other inputs."""
        inputs = self.inputs(Size(size.rows, 11, size.width), seed, dtype)
        with torch.no_grad():
            return self.run(inputs, self.begin(inputs), None, "auto")[1]

    def window(self, inputs: Tensors, steps: slice, rows: slice = slice(None)) -> Tensors:
        """Return some steps of some rows."""
        return {k: v[rows, steps] if k in self.along_time else v for k, v in inputs.items()}


# The laws that not every case calls for: what a case must have.
CALLED_FOR: dict[str, Callable[[Case], bool]] = {
    "reference": lambda case: case.kernel,
    "streaming": lambda case: case.streams,
    "lengths": lambda case: case.takes_lengths,
    "masked": lambda case: case.mask is not None,
    "linearity": lambda case: bool(case.linear_in),
    "16 bits": lambda case: case.kernel,
    "autocast": lambda case: not case.kernel,
    "decay": lambda case: case.decay is not None,
    "slow decay": lambda case: case.held is not None,
    "state size": lambda case: case.state_size is not None,
    "dynamic export": lambda case: not case.loops,
    "compile": lambda case: case.compiles,
}


def cases(law: str | None = None) -> list[Case]:
    """Return the cases that call for a law, or all."""
    return [case for case in CASES if law is None or CALLED_FOR[law](case)]


def summary() -> str:
    """Say in one line how many cases no law of a name was called for by."""
    left_out = {law: len(CASES) - len(cases(law)) for law in CALLED_FOR}
    counts = ", ".join(f"{law} {count}" for law, count in left_out.items() if count)
    return f"{len(CASES)} cases of kernels and layers; their declarations leave out: {counts}"


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


def layer(
    name: str,
    make: Callable[[int], nn.Module],
    heads: int = 1,
    also: Callable[[Size], Tensors] = lambda size: {},
    **declared,
) -> Case:
    """Make the case of a layer from a function that makes it d_model = heads * width wide.

    `also` draws what it takes along time besides x, in the order of its arguments.
    """
    along_time = ("x", *also(Size()))
    probe = make(heads)

    @cache
    def template(width: int, dtype: torch.dtype) -> nn.Module:
        return make(width).to(dtype)

    def loaded(inputs: Tensors, module: nn.Module) -> nn.Module:
        module.load_state_dict(
            {k: v for k, v in inputs.items() if k not in along_time}, strict=False
        )
        return module

    class Module(nn.Module):
        def __init__(self, inputs: Tensors) -> None:
            super().__init__()
            x = inputs["x"]
            self.layer = loaded(inputs, make(x.shape[-1]).to(x.dtype))

        def forward(self, inputs: Tensors, state: Tensors | None = None) -> Result:
            return self.layer(*(inputs[name] for name in along_time), state)

    def call(inputs: Tensors, *args: object, method: str | None = None):
        """Call the layer with the weights among the inputs, so that gradients reach them."""
        module = template(inputs["x"].shape[-1], inputs["x"].dtype)
        if method is not None:
            return getattr(loaded(inputs, module), method)(*args)
        weights = {k: v for k, v in inputs.items() if k not in along_time}
        given = (inputs[name] for name in along_time)
        return functional_call(module, weights, (*given, *args))

    def draw(size: Size) -> Tensors:
        width = heads * size.width
        weights = dict(make(width).double().named_parameters())
        return {
            "x": randn(size.rows, size.steps, width, dtype=torch.float64),
            **also(size),
            **{k: v.detach() for k, v in weights.items()},
        }

    return Case(
        name=name,
        draw=draw,
        run=lambda inputs, state, lengths, backend: call(inputs, state, lengths),
        module=Module,
        along_time=along_time,
        begin=lambda inputs: call(inputs, inputs["x"], method="initial_state"),
        flush=lambda inputs, state: call(inputs, state, method="flush"),
        causal=probe.causal,
        streams=probe.streams,
        linear_in=("x",) if probe.is_linear else (),
        look_ahead=probe.look_ahead,
        state_size=lambda size: make(heads * size.width).state_size(),
        **declared,
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
    y, last = fir(**inputs, dilation=2, state=before, backend=backend)
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


def few_tokens(size: Size) -> Tensors:
    return {"tokens": torch.randint(3, (size.rows, size.steps))}


def one_state(run: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., Result]:
    """Call a kernel that keeps one tensor as its state."""

    def call(inputs: Tensors, state: Tensors | None, lengths: Length, backend: str) -> Result:
        before = None if state is None else state["s"]
        y, last = run(**inputs, state=before, lengths=lengths, backend=backend)
        return y, {"s": last}

    return call


SCAN = {"along_time": ("a", "b"), "linear_in": ("b",), "decay": "a", "held": hold_scan}
FLASH = {"expansion": 2, "d_key": 3, "rotary_dim": 2, "group": 4, "taps": 3}
ONE_WAY = {"causal": False, "streams": False}
CHUNKED = {"along_time": ("q", "k", "q_linear", "k_linear", "v"), "linear_in": ("v",)}
BY_TORCH = {"loops": True, "compiles": False}

CASES = [
    kernel("linear_scan", scan_inputs, run_scan, **SCAN),
    kernel("linear_scan headwise", partial(scan_inputs, decays=1), run_scan, **SCAN),
    kernel("linear_scan reverse", scan_inputs, partial(run_scan, reverse=True), **SCAN | ONE_WAY),
    kernel(
        "fir", fir_inputs, run_fir, ("x",), linear_in=("x",), takes_lengths=False, keeps_inputs=True
    ),
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
        loops=True,
    ),
    kernel(
        "gated_linear_attention",
        gated_inputs,
        one_state(gated_linear_attention),
        ("q", "k", "v", "log_a"),
        linear_in=("v",),
        held=hold_log,
        loops=True,
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
        loops=True,
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
    layer("Mamba2", lambda width: Mamba2(width, 2, head_width=width, d_conv=2), loops=True),
    layer(
        "GatedDeltaNet",
        lambda width: GatedDeltaNet(width, heads=1, head_width=2, value_width=3, d_conv=2),
        loops=True,
    ),
    layer("GatedAttention", lambda width: GatedAttention(width, **FLASH)),
    layer("GatedAttention causal", lambda width: GatedAttention(width, **FLASH, causal=True)),
    layer("RotaryEmbedding", lambda width: RotaryEmbedding(2)),
    layer(
        "RotaryEmbedding halves",
        lambda width: RotaryEmbedding(width, pairs="halves"),
        heads=2,
    ),
    layer("RNN lstm", lambda width: RNN(width, width), **BY_TORCH),
    layer("RNN gru", lambda width: RNN(width, width, cell="gru", n_layers=2), **BY_TORCH),
    layer("RNN both ways", lambda width: RNN(width, width, bidirectional=True), **BY_TORCH),
    layer(
        "RNN slstm", lambda width: RNN(width, width, cell="slstm", n_heads=2), heads=2, loops=True
    ),
    layer("Fsmn", lambda width: Fsmn(width, order=5)),
    layer("Fsmn look-ahead", lambda width: Fsmn(width, order=4, look_ahead=3)),
    layer("DenseFsmn", lambda width: DenseFsmn(width, order=3)),
    layer("GatedFsmn", lambda width: GatedFsmn(width, 4, order=2, taps=3)),
    layer("GatedFsmn dense", lambda width: GatedFsmn(width, 4, memory="dense", order=2, taps=3)),
    layer("NGramHead", lambda width: NGramHead(width, n=1, slots=4), also=few_tokens),
    layer("NGramHead full", lambda width: NGramHead(width, n=2, slots=5), also=few_tokens),
    layer("SwiGLU", lambda width: SwiGLU(width, 4)),
    layer("PrefixAttention", lambda width: PrefixAttention(width, n_heads=2), heads=2),
]
