"""The yardstick of FRCRN's speed: the official network's own formulation, written out plainly.

Tensors are (B, C, F, T, 2). Every complex operation is four real ones, A(re) - B(im) and A(im) +
B(re), on strided views that are stacked again; norms stay apart; each memory is a depthwise
`Conv2d` with the other axis in the batch; the transform is a convolution. The layers carry one of
the two names that the official checkpoint has for them, so its tensors load as they are.

Source: `clearvoice/models/frcrn_se` of ClearerVoice-Studio (Apache-2.0), as the project's facts
page describes it. Nothing here is part of the packages.
"""

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

KEYS = Path(__file__).parents[1] / "tests/speech/models/vectors/FRCRN_SE_16K.json"
WIN, HOP, BINS = 640, 320, 321
CHANNELS = 128
ENCODER_KERNELS = (5, 5, 5, 5, 5, 5, 2)
DECODER_KERNELS = (2, 5, 5, 5, 6, 5, 5)


def complexly(a: Callable[[Tensor], Tensor], b: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply A + jB to x (..., 2)."""
    re = a(x[..., 0]) - b(x[..., 1])
    im = a(x[..., 1]) + b(x[..., 0])
    return torch.stack([re, im], dim=-1)


class ComplexConv(nn.Module):
    """A complex convolution, `conv` or `tconv` in the names of its two real ones."""

    def __init__(self, kind: type[nn.Module], name: str, *args: object, **options: object) -> None:
        super().__init__()
        self.name = name
        self.add_module(f"{name}_re", kind(*args, **options))
        self.add_module(f"{name}_im", kind(*args, **options))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x (B, C, F, T, 2)."""
        return complexly(getattr(self, f"{self.name}_re"), getattr(self, f"{self.name}_im"), x)


class ComplexNorm(nn.Module):
    """Two batch norms, of the real and of the imaginary part."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn_re = nn.BatchNorm2d(channels)
        self.bn_im = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, C, F, T, 2)."""
        return torch.stack([self.bn_re(x[..., 0]), self.bn_im(x[..., 1])], dim=-1)


class Block(nn.Module):
    """Complex convolution (`conv`) or transposed convolution (`transconv`), norm, leaky ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int, *, transposed: bool) -> None:
        super().__init__()
        self.name = "transconv" if transposed else "conv"
        kind, part = (nn.ConvTranspose2d, "tconv") if transposed else (nn.Conv2d, "conv")
        conv = ComplexConv(kind, part, c_in, c_out, (kernel, 2), stride=(2, 1), padding=(0, 1))
        self.add_module(self.name, conv)
        self.bn = ComplexNorm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C_in, F, T, 2) to (B, C_out, F', T +- 1, 2)."""
        return functional.leaky_relu(self.bn(getattr(self, self.name)(x)), 0.01, inplace=True)


class RealFsmn(nn.Module):
    """y = x + p + depthwise(p) along the second axis, p = project(relu(linear(x)))."""

    def __init__(self, width: int, order: int = 20) -> None:
        super().__init__()
        self.order = order
        self.linear = nn.Linear(width, width)
        self.project = nn.Linear(width, width, bias=False)
        self.conv1 = nn.Conv2d(width, width, (order, 1), groups=width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the memory of the steps before to x (N, S, C)."""
        p = self.project(torch.relu(self.linear(x)))
        image = p.unsqueeze(1).permute(0, 3, 2, 1)  # (N, C, S, 1)
        memory = image + self.conv1(functional.pad(image, (0, 0, self.order - 1, 0)))
        return x + memory.permute(0, 3, 2, 1).squeeze(1)


class ComplexFsmn(nn.Module):
    """`layers` complex memories; their real layers are called fsmn_re_L1, fsmn_im_L1, ..."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        for level in range(1, layers + 1):
            self.add_module(f"fsmn_re_L{level}", RealFsmn(width))
            self.add_module(f"fsmn_im_L{level}", RealFsmn(width))
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Remember along the second axis of x (N, S, C, 2)."""
        for level in range(1, self.layers + 1):
            re, im = getattr(self, f"fsmn_re_L{level}"), getattr(self, f"fsmn_im_L{level}")
            x = complexly(re, im, x)
        return x


def along_frequency(memory: ComplexFsmn, x: Tensor) -> Tensor:
    """Run a memory over the frequencies of each frame of x (B, C, F, T, 2)."""
    b, c, f, t, two = x.shape
    y = memory(x.transpose(1, 3).reshape(b * t, f, c, two))
    return y.reshape(b, t, f, c, two).transpose(1, 3)


def along_time(memory: ComplexFsmn, x: Tensor) -> Tensor:
    """Run a memory over the frames of x (B, C, F, T, 2), all channels and frequencies at once."""
    b, c, f, t, two = x.shape
    y = memory(x.reshape(b, c * f, t, two).transpose(1, 2))
    return y.transpose(1, 2).reshape(x.shape)


class SqueezeExcite(nn.Module):
    """Gates from the mean over frequency and time, a complex product of sigmoids."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        for name in ("fc_r", "fc_i"):
            gate = nn.Sequential(
                nn.Linear(channels, channels // reduction),
                nn.ReLU(inplace=True),
                nn.Linear(channels // reduction, channels),
                nn.Sigmoid(),
            )
            self.add_module(name, gate)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the parts of x (B, C, F, T, 2) apart."""
        parts = [functional.adaptive_avg_pool2d(x[..., i], 1).flatten(1) for i in (0, 1)]
        gates = complexly(self.fc_r, self.fc_i, torch.stack(parts, dim=-1))
        return x * gates[:, :, None, None]


class Unet(nn.Module):
    """One complex U-Net of seven levels."""

    def __init__(self) -> None:
        super().__init__()
        c = CHANNELS
        self.encoders = nn.ModuleList(
            Block(1 if i == 0 else c, c, kernel, transposed=False)
            for i, kernel in enumerate(ENCODER_KERNELS)
        )
        self.decoders = nn.ModuleList(
            Block(c if i == 0 else 2 * c, 1 if i == 6 else c, kernel, transposed=True)
            for i, kernel in enumerate(DECODER_KERNELS)
        )
        # The official network builds the memory of encoder 0 too, but never calls it.
        self.fsmn_enc = nn.ModuleList([nn.Identity(), *(ComplexFsmn(c, 1) for _ in range(6))])
        self.fsmn_dec = nn.ModuleList(ComplexFsmn(c, 1) for _ in range(6))
        self.se_layers_enc = nn.ModuleList(SqueezeExcite(c) for _ in range(6))
        self.se_layers_dec = nn.ModuleList(SqueezeExcite(c) for _ in range(5))
        self.fsmn = ComplexFsmn(c, 2)
        self.linear = ComplexConv(nn.Conv2d, "conv", 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, 1, F, T, 2) to the same shape."""
        skips = []
        for i, encoder in enumerate(self.encoders):
            x = encoder(along_frequency(self.fsmn_enc[i], x) if i > 0 else x)
            if i < 6:
                skips.append(self.se_layers_enc[i](x))
        x = along_time(self.fsmn, x)
        for i, decoder in enumerate(self.decoders):
            x = decoder(x)
            if i < 6:
                x = along_frequency(self.fsmn_dec[i], x)
                x = self.se_layers_dec[i](x) if i < 5 else x
                x = torch.cat([x, skips.pop()], dim=1)
        return self.linear(x)


class ReferenceFrcrn(nn.Module):
    """FRCRN_SE_16K: a wave in, the enhanced wave out."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = Unet()
        self.unet2 = Unet()
        window = torch.hann_window(WIN, dtype=torch.float64).sqrt()
        basis = np.fft.rfft(np.eye(WIN))
        kernel = np.concatenate([basis.real, basis.imag], axis=1).T  # (2 * BINS, WIN)
        inverse = torch.from_numpy(np.linalg.pinv(kernel).T) * window
        analysis = torch.from_numpy(kernel) * window
        self.register_buffer("analysis", analysis[:, None].float(), persistent=False)
        self.register_buffer("synthesis", inverse[:, None].float(), persistent=False)
        self.register_buffer("window", window.float()[None, :, None], persistent=False)
        self.register_buffer("frame", torch.eye(WIN)[:, None], persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Enhance audio (B, n): (B, (T - 1) * HOP + WIN)."""
        spectrum = functional.conv1d(audio[:, None], self.analysis, stride=HOP)
        parts = torch.stack([spectrum[:, :BINS], spectrum[:, BINS:]], dim=-1)  # (B, F, T, 2)
        first = self.unet(parts[:, None])
        mask = (torch.tanh(self.unet2(first)) + torch.tanh(first))[:, 0]
        re = parts[..., 0] * mask[..., 0] - parts[..., 1] * mask[..., 1]
        im = parts[..., 0] * mask[..., 1] + parts[..., 1] * mask[..., 0]
        frames = torch.cat([re, im], dim=1)
        wave = functional.conv_transpose1d(frames, self.synthesis, stride=HOP)
        squares = self.window.repeat(1, 1, frames.shape[-1]) ** 2
        energy = functional.conv_transpose1d(squares, self.frame, stride=HOP)
        return (wave / (energy + 1e-8))[:, 0]


def recipe_checkpoint() -> dict[str, Tensor]:
    """Return weights for every official name, both names of a layer alike.

    They are those of the full-size numbers in tests/speech/models/vectors: each tensor is drawn
    from a generator seeded with the CRC-32 of the first of its names.
    """
    tensors: dict[str, Tensor] = {}
    first: dict[str, str] = {}
    for key, spec in json.loads(KEYS.read_text()).items():
        if "stft" in key:
            continue
        name = first.setdefault(_without_alias(key), key)
        shape = tuple(spec["shape"])
        counter = spec["dtype"] == "int64"
        tensors[key] = torch.zeros(shape, dtype=torch.int64) if counter else _draw(name, shape)
    return tensors


def _without_alias(key: str) -> str:
    for plural in (
        "encoders",
        "decoders",
        "fsmn_enc",
        "fsmn_dec",
        "se_layers_enc",
        "se_layers_dec",
    ):
        single = plural.replace("coders", "coder").replace("layers", "layer")
        key = key.replace(f".{plural}.", f".{single}", 1)
    return key


def _draw(key: str, shape: tuple[int, ...]) -> Tensor:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    values = generator.standard_normal(shape, dtype=np.float32)
    if key.endswith("running_var"):
        values = 1 + 0.25 * np.tanh(values)
    elif key.endswith("running_mean"):
        values = 0.1 * values
    elif len(shape) <= 1 or values.size == max(shape):
        values = (1 if key.endswith("weight") else 0) + 0.05 * values
    else:
        values = 0.35 * values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def build() -> ReferenceFrcrn:
    """Return the yardstick with the recipe's weights, ready for inference."""
    model = ReferenceFrcrn()
    checkpoint = recipe_checkpoint()
    model.load_state_dict({name: checkpoint[name] for name in model.state_dict()})
    return model.eval()
