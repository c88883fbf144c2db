"""The layers of FRCRN as they run in inference: the same numbers in fewer passes over memory.

A block's norm is folded into its convolution, whose real form is laid out once. What is larger than
the processor's cache is written once and read once: a layer takes a tile of frames through all its
steps before it turns to the next. `benchmarks/frcrn_speed.py` measures the gain.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.kernels import fir
from recurra.speech.models.complex_layers import (
    ComplexConvBlock,
    ComplexFsmn,
    State,
    combine,
    with_frame_before,
)

# Elements of a tile, 5 MB in f32. With it the full-size network takes 5.5 CPU s for 4 s of audio on
# one core with 32 MB of cache, 6.3 with half, 5.9 with twice as many, 6.1 without tiles.
TILE = 1_300_000


def tiles(n_frames: int, frame: Tensor) -> Iterator[slice]:
    """Cut `n_frames` like `frame` into slices of about `TILE` elements; one slice on a GPU."""
    size = max(1, TILE // frame.numel()) if frame.device.type == "cpu" else n_frames
    for start in range(0, n_frames, size):
        yield slice(start, min(start + size, n_frames))


def _packed(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.contiguous(memory_format=torch.channels_last))


class FusedConv(nn.Module):
    """A `ComplexConvBlock` that is not transposed: one real convolution and leaky ReLU."""

    def __init__(self, block: ComplexConvBlock) -> None:
        super().__init__()
        weight, bias = block.folded()
        self.weight = _packed(weight)
        self.bias = nn.Parameter(bias)
        self.causal = block.causal

    def forward(
        self, inputs: Sequence[Tensor], state: State | None, key: str
    ) -> tuple[Tensor, State]:
        """Map one tensor (B, T, F_in, 2 * C_in) to (B, T or T + 1, F_out, 2 * C_out)."""
        x, after = with_frame_before(inputs[0], self.causal, state, key)
        padding = (0 if self.causal else 1, 0)
        y = functional.conv2d(x.permute(0, 3, 1, 2), self.weight, self.bias, (1, 2), padding)
        return functional.leaky_relu_(y, 0.01).permute(0, 2, 3, 1), after


class FusedTransposedConv(nn.Module):
    """A transposed `ComplexConvBlock`: two convolutions, of the even and of the odd frequencies.

    A transposed convolution of stride 2 puts its even taps on even outputs and its odd taps on odd
    ones. Each half is a plain convolution, which oneDNN runs faster: 530 ms against 670 for 512 to
    256 channels at (201, 78), 47 against 105 for 512 to 2 at (200, 159).
    """

    def __init__(self, block: ComplexConvBlock) -> None:
        super().__init__()
        weight, bias = block.folded()
        weight = weight.flip(2, 3)  # a transposed convolution meets its taps in reverse
        n_taps = weight.shape[3]
        self.even = _packed(weight[..., (n_taps - 1) % 2 :: 2])
        self.odd = _packed(weight[..., n_taps % 2 :: 2])
        self.bias = nn.Parameter(bias)
        self.causal = block.causal

    def forward(
        self, inputs: Sequence[Tensor], state: State | None, key: str
    ) -> tuple[Tensor, State]:
        """Map tensors (B, T, F_in, 2 * C) to (B, T or T - 1, F_out, 2 * C_out)."""
        if not self.causal:
            before = torch.cat([x[:, :1] for x in inputs], dim=-1)
            inputs = [x[:, 1:] for x in inputs]
        elif state is None:
            before = torch.cat([torch.zeros_like(x[:, :1]) for x in inputs], dim=-1)
        else:
            before = state[key]
        b, n_frames, f_in, _ = inputs[0].shape
        spans = self.even.shape[3] - 1, self.odd.shape[3] - 1
        y = before.new_empty(b, n_frames, 2 * f_in + sum(spans), self.bias.shape[0])
        for tile in tiles(n_frames, before):
            x = torch.cat([x[:, tile] for x in inputs], dim=-1)
            image = torch.cat([before, x], dim=1).permute(0, 3, 1, 2)
            for phase, weight, span in zip((0, 1), (self.even, self.odd), spans, strict=True):
                half = functional.conv2d(image, weight, self.bias, padding=(0, span))
                y[:, tile, phase::2] = functional.leaky_relu_(half, 0.01).permute(0, 2, 3, 1)
            before = x[:, -1:]
        return y, {key: before} if self.causal else {}


class FusedMemory(nn.Module):
    """A `ComplexFsmn` along frequency."""

    def __init__(self, memory: ComplexFsmn) -> None:
        super().__init__()
        self.linears = nn.ModuleList([memory.real.linear, memory.imag.linear])
        self.projects = nn.ModuleList([memory.real.project, memory.imag.project])
        # For both parts of a number, and with the term `+ p` of an FSMN in the last tap.
        taps = [part.taps.detach().repeat(1, 2, 1) for part in (memory.real, memory.imag)]
        for part in taps:
            part[-1] += 1
        self.taps = nn.ParameterList(taps)

    def along_frequency(self, x: Tensor) -> Tensor:
        """Remember lower frequencies: x (B, T, F, 2 * C) -> the same shape, in the memory of x."""
        frames = x.flatten(0, 1)
        for tile in tiles(frames.shape[0], frames[:1]):
            z = frames[tile]
            real, imag = ((z + self._remember(z, part)).unflatten(-1, (2, -1)) for part in (0, 1))
            frames[tile] = combine(real, imag).flatten(-2)
        return frames.view(x.shape)

    def _remember(self, z: Tensor, part: int) -> Tensor:
        """Return the memory of the real or imaginary layer for z (N, F, 2 * C)."""
        hidden = torch.relu_(self.linears[part](z.unflatten(-1, (2, -1))))
        p = self.projects[part](hidden).flatten(-2)
        taps = self.taps[part][-z.shape[1] :]  # earlier taps meet nothing but padding
        return fir(p, taps.to(p.dtype))[0]
