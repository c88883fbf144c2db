"""The layers that the laws are run on: one entry each, which says how small a one is made."""

from collections.abc import Callable
from functools import cache

import torch
from tests.core.laws.case import Case, Result, Size, Tensors
from torch import nn, randn
from torch.func import functional_call

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


def few_tokens(size: Size) -> Tensors:
    return {"tokens": torch.randint(3, (size.rows, size.steps))}


FLASH = {"expansion": 2, "d_key": 3, "rotary_dim": 2, "group": 4, "taps": 3}
BY_TORCH = {"loops": True, "compiles": False}

LAYERS = [
    layer("Mamba2", lambda width: Mamba2(width, 2, head_width=width, d_conv=2)),
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
