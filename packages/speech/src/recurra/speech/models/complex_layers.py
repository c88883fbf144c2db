"""Complex-valued layers of FRCRN, on real tensors (B, T, F, 2 * C): real parts, then imaginary.

A complex product with a weight A + jB is one real product with [[A, -B], [B, A]], so each complex
convolution here is one real convolution. Channels come last in memory, where convolutions, linear
layers and the memory filter all want them; nothing is copied between them.

Layers along time take and return streaming states in a flat dict; `key` names a layer's own entry.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.layers import Fsmn

State = dict[str, Tensor]


def real_form(re: Tensor, im: Tensor, *, n_inputs: int = 1) -> Tensor:
    """Write complex weights (C_out, C_in, ...) as real ones (2 * C_out, 2 * C_in, ...).

    With `n_inputs` > 1 the input channels are that many concatenated complex tensors.
    """
    rows_re, rows_im = [], []
    for a, b in zip(re.chunk(n_inputs, dim=1), im.chunk(n_inputs, dim=1), strict=True):
        rows_re += [a, -b]
        rows_im += [b, a]
    return torch.cat([torch.cat(rows_re, dim=1), torch.cat(rows_im, dim=1)], dim=0)


def real_bias(re: Tensor, im: Tensor) -> Tensor:
    """Combine the biases of the two real convolutions of one complex convolution: (2 * C,).

    Both are applied to both parts, A(re) - B(im) and A(im) + B(re): they meet as a - b and a + b.
    """
    return torch.cat([re - im, re + im])


class ComplexConvBlock(nn.Module):
    """Complex convolution, or its transpose, over (time, frequency), batch norm and leaky ReLU.

    The kernel spans two frames. `causal` frames look one frame back and keep the number of frames.
    Otherwise, as in the official network, a convolution makes one frame more than it is given, and
    a transposed one makes one frame fewer and looks one frame ahead.

    Source: `Encoder` and `Decoder` of ClearerVoice-Studio (`frcrn_se_16k/unet.py`).
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_size: int,
        *,
        transposed: bool = False,
        causal: bool = False,
        n_inputs: int = 1,
    ) -> None:
        super().__init__()
        shape = (c_out, c_in, 2, kernel_size)
        bound = (
            2 * c_in * 2 * kernel_size
        ) ** -0.5  # torch's default for the same real convolution
        self.weight_re = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.weight_im = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias_re = nn.Parameter(torch.zeros(c_out))
        self.bias_im = nn.Parameter(torch.zeros(c_out))
        self.norm = nn.BatchNorm2d(2 * c_out)
        self.transposed = transposed
        self.causal = causal
        self.n_inputs = n_inputs

    def forward(
        self, inputs: Sequence[Tensor], state: State | None, key: str
    ) -> tuple[Tensor, State]:
        """Map `n_inputs` tensors (B, T, F_in, 2 * C) to (B, T or T +- 1, F_out, 2 * C_out)."""
        weight = real_form(self.weight_re, self.weight_im, n_inputs=self.n_inputs)
        bias = real_bias(self.bias_re, self.bias_im)
        x, state = with_frame_before(torch.cat(inputs, dim=-1), self.causal, state, key)
        image = x.permute(0, 3, 1, 2)
        if self.transposed:
            # The newest frame meets the first tap; padding 1 drops the first and last frame.
            y = functional.conv_transpose2d(
                image, weight.transpose(0, 1), bias, stride=(1, 2), padding=(1, 0)
            )
        else:
            y = functional.conv2d(
                image, weight, bias, stride=(1, 2), padding=(0 if self.causal else 1, 0)
            )
        return functional.leaky_relu(self.norm(y), 0.01).permute(0, 2, 3, 1), state

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight (2 * C_out, 2 * C_in, 2, K) and bias (2 * C_out,) with the norm in them."""
        weight = real_form(self.weight_re, self.weight_im, n_inputs=self.n_inputs)
        bias = real_bias(self.bias_re, self.bias_im)
        scale = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
        weight = weight * scale[:, None, None, None]
        bias = (bias - self.norm.running_mean) * scale + self.norm.bias
        return weight.detach(), bias.detach()


def with_frame_before(
    x: Tensor, causal: bool, state: State | None, key: str
) -> tuple[Tensor, State]:
    """Put the frame before x (B, T, ...) in front of it if `causal`, and keep its last frame."""
    if not causal:
        return x, {}
    before = torch.zeros_like(x[:, :1]) if state is None else state[key]
    return torch.cat([before, x], dim=1), {key: x[:, -1:]}


class ComplexFsmn(nn.Module):
    """A complex FSMN: real layers R and I combined as R(re) - I(im), R(im) + I(re).

    Source: `ComplexUniDeepFsmn_L1` (one layer) and each half of `ComplexUniDeepFsmn` of
    ClearerVoice-Studio (`frcrn_se_16k/complex_nn.py`).
    """

    def __init__(self, channels: int, *, order: int) -> None:
        super().__init__()
        self.real = Fsmn(channels, order=order)
        self.imag = Fsmn(channels, order=order)

    def along_frequency(self, x: Tensor) -> Tensor:
        """Remember lower frequencies: x (B, T, F, 2 * C) -> the same shape. Each frame is alone."""
        z = x.reshape(x.shape[0] * x.shape[1], x.shape[2], 2, -1)
        return combine(self.real(z)[0], self.imag(z)[0]).reshape(x.shape)

    def along_time(self, x: Tensor, state: State | None, key: str) -> tuple[Tensor, State]:
        """Remember earlier frames: x (B, T, F, 2 * C) -> the same shape."""
        z = x.reshape(*x.shape[:3], 2, -1)
        states = [None, None]
        if state is not None:
            states = [{"memory": state[f"{key}.{part}"]} for part in ("real", "imag")]
        real, real_state = self.real(z, states[0])
        imag, imag_state = self.imag(z, states[1])
        after = {f"{key}.real": real_state["memory"], f"{key}.imag": imag_state["memory"]}
        return combine(real, imag).reshape(x.shape), after


def combine(real: Tensor, imag: Tensor) -> Tensor:
    """Combine R and I of (re, im), both (..., 2, C), into R(re) - I(im), R(im) + I(re)."""
    re = real[..., 0, :] - imag[..., 1, :]
    im = real[..., 1, :] + imag[..., 0, :]
    return torch.stack([re, im], dim=-2)


class ComplexSqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from its mean over frequency and time.

    The gates are a complex product, but they are applied to the real and imaginary parts alone, as
    the official network does. The mean is over the whole clip, or over the `reach` frames to each
    side that there are. A causal gate sees a running mean with the time constant `memory_frames`
    instead.

    Source: `SELayer` of ClearerVoice-Studio (`frcrn_se_16k/se_layer.py`); Hu et al. 2018.
    """

    def __init__(
        self, channels: int, *, reduction: int, memory_frames: int | None, reach: int | None = None
    ) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.real = _gate(channels, hidden)
        self.imag = _gate(channels, hidden)
        self.memory_frames = memory_frames
        self.reach = reach

    def forward(self, x: Tensor, state: State | None, key: str) -> tuple[Tensor, State]:
        """Scale x (B, T, F, 2 * C)."""
        mean = x.mean(dim=2).unflatten(-1, (2, -1))  # (B, T, 2, C)
        after = {}
        if self.memory_frames is not None:
            before = torch.zeros_like(mean[:, 0]) if state is None else state[key]
            mean = running_mean(mean, before, self.memory_frames)
            after[key] = mean[:, -1]
        elif self.reach is not None:
            mean = centred_mean(mean, self.reach)
        else:
            mean = mean.mean(dim=1, keepdim=True)
        gates = combine(self.real(mean), self.imag(mean))  # (B, T or 1, 2, C)
        return x * gates.flatten(-2)[:, :, None], after


def _gate(channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
    )


def running_mean(x: Tensor, before: Tensor, frames: int) -> Tensor:
    """Return m_t = m_{t-1} + (x_t - m_{t-1}) / frames for x (B, T, ...), from m_{-1} = before."""
    keep = 1 - 1 / frames
    pieces = []
    for piece in x.split(256, dim=1):  # one triangular product a piece, flat in memory
        lag = torch.arange(piece.shape[1], device=x.device, dtype=x.dtype)
        distance = lag[:, None] - lag
        weights = torch.where(distance >= 0, keep ** distance.clamp(min=0), 0.0) / frames
        decay = keep ** (lag + 1)
        mean = weights @ piece.flatten(2) + decay[:, None] * before.flatten(1)[:, None]
        pieces.append(mean.reshape(piece.shape))
        before = pieces[-1][:, -1]
    return torch.cat(pieces, dim=1)


def centred_mean(x: Tensor, reach: int) -> Tensor:
    """Return the mean over the frames t - reach to t + reach that there are, for x (B, T, ...)."""
    n_frames = x.shape[1]
    frame = torch.arange(n_frames, device=x.device)
    begin, end = (frame - reach).clamp(min=0), (frame + reach + 1).clamp(max=n_frames)
    # Half precision would not hold the sums.
    sums = x.to(torch.promote_types(x.dtype, torch.float32)).cumsum(dim=1)
    sums = torch.cat([torch.zeros_like(sums[:, :1]), sums], dim=1).flatten(2)  # (B, T + 1, ...)
    mean = (sums[:, end] - sums[:, begin]) / (end - begin)[:, None]
    return mean.reshape(x.shape).to(x.dtype)
