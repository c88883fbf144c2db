"""FRCRN: complex U-Nets that remember along frequency and time, and mask a noisy spectrum.

Source: Zhao et al. 2022, "FRCRN: Boosting Feature Representation Using Frequency Recurrence for
Monaural Speech Enhancement" (arXiv 2206.07293), as released in ClearerVoice-Studio
(`FRCRN_SE_16K`): two U-Nets in a row and complex squeeze-excitation on the skips, which the paper's
figure does not have. `FrcrnConfig()` is that network; the presets are smaller.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.pretrained import Pretrained
from recurra.speech.models.complex_layers import (
    ComplexConvBlock,
    ComplexFsmn,
    ComplexSqueezeExcite,
    State,
)
from recurra.speech.models.fused_layers import FusedConv, FusedMemory, FusedTransposedConv
from recurra.speech.models.stft import istft, stft


@dataclass(frozen=True)
class FrcrnConfig:
    """The sizes of an FRCRN; the defaults are the official `FRCRN_SE_16K`.

    Attributes:
        sample_rate: in Hz.
        win_length, hop_length: of the short-time Fourier transform, in samples.
        channels: complex channels after each encoder level. A decoder level mirrors the encoder's.
        order: taps of every FSMN, along frequency and along time.
        reduction: how much narrower the squeeze-excitation's hidden layer is.
        n_unets: 1 or 2; the second refines what the first gives, and their masks add up.
        causal: no output frame sees a later input frame, so that the network can stream.
        squeeze_frames: time constant of the causal squeeze-excitation's running mean, in frames.
        squeeze_reach: frames to each side that a squeeze-excitation averages over where the network
            is not causal; None: the whole clip, as the official network. With a reach, clips up to
            that long give the same, and what is far away in a longer one does not matter, so that
            it can be cut into windows.
        compression: the network sees |X| ** compression with X's phase; 1 is the plain spectrum.
            Below 1 loud and quiet recordings look alike (not in the paper).
        level_db: the level, in dB re full scale, that a recording is brought to before the network
            and back from after it; None: the network takes any level.
    """

    sample_rate: int = 16000
    win_length: int = 640
    hop_length: int = 320
    channels: tuple[int, ...] = (128,) * 7
    order: int = 20
    reduction: int = 8
    n_unets: int = 2
    causal: bool = False
    squeeze_frames: int = 50
    squeeze_reach: int | None = None
    compression: float = 1.0
    level_db: float | None = -25.0

    def frequencies(self) -> list[int]:
        """Return the number of frequency bins at the input and after each encoder level."""
        bins = [self.win_length // 2 + 1]
        for kernel in self.encoder_kernels():
            bins.append((bins[-1] - kernel) // 2 + 1)
        return bins

    def encoder_kernels(self) -> list[int]:
        """Return the kernel sizes along frequency: 5, and 2 on the last level."""
        return [5] * (len(self.channels) - 1) + [2]

    def decoder_kernels(self) -> list[int]:
        """Return the kernel sizes, deepest first, that give back each encoder's input size."""
        bins = self.frequencies()
        return [outer - 2 * (inner - 1) for outer, inner in pairwise(bins)][::-1]


# Presets. Narrow where there are many frequencies, which is where a level costs most. One U-Net: it
# learns more than two in the same CPU time, while that is hours and not days.
FRCRN_SMALL = FrcrnConfig(
    channels=(12, 16, 24, 32, 40, 40, 40),
    n_unets=1,
    squeeze_reach=200,
    compression=0.5,
    level_db=None,
)
FRCRN_LIVE = replace(FRCRN_SMALL, causal=True, squeeze_reach=None)


class Unet(nn.Module):
    """One complex U-Net: spectrum in, mask before its tanh out, both (B, T, F, 2)."""

    def __init__(self, config: FrcrnConfig) -> None:
        super().__init__()
        widths = (1, *config.channels)
        memory_frames = config.squeeze_frames if config.causal else None
        depth = len(config.channels)

        def squeeze(channels: int) -> ComplexSqueezeExcite:
            return ComplexSqueezeExcite(
                channels,
                reduction=config.reduction,
                memory_frames=memory_frames,
                reach=config.squeeze_reach,
            )

        self.encoders = nn.ModuleList(
            ComplexConvBlock(c_in, c_out, kernel, causal=config.causal)
            for c_in, c_out, kernel in zip(
                widths, widths[1:], config.encoder_kernels(), strict=False
            )
        )
        # The first encoder has no memory before it: there is one channel to remember.
        self.encoder_memories = nn.ModuleList(
            ComplexFsmn(width, order=config.order) for width in widths[1:-1]
        )
        self.skip_gates = nn.ModuleList(squeeze(width) for width in widths[1:-1])
        self.bottleneck = nn.ModuleList(
            ComplexFsmn(widths[-1], order=config.order) for _ in range(2)
        )
        up = widths[::-1]  # deepest first: c, ..., 1
        self.decoders = nn.ModuleList(
            ComplexConvBlock(
                c_in if level == 0 else 2 * c_in,
                c_out,
                kernel,
                transposed=True,
                causal=config.causal,
                n_inputs=1 if level == 0 else 2,
            )
            for level, (c_in, c_out, kernel) in enumerate(
                zip(up, up[1:], config.decoder_kernels(), strict=False)
            )
        )
        self.decoder_memories = nn.ModuleList(
            ComplexFsmn(width, order=config.order) for width in up[1:depth]
        )
        self.decoder_gates = nn.ModuleList(squeeze(width) for width in up[1 : depth - 1])
        self.output_re = nn.Parameter(torch.tensor([1.0, 0.0]))  # weight, bias
        self.output_im = nn.Parameter(torch.tensor([0.0, 0.0]))

    def forward(self, x: Tensor, state: State | None, key: str) -> tuple[Tensor, State]:
        """Map a spectrum x (B, T, F, 2) to (B, T, F, 2)."""
        after: State = {}
        skips = []
        for level, encoder in enumerate(self.encoders):
            if level > 0:
                x = self.encoder_memories[level - 1].along_frequency(x)
            x, new = encoder([x], state, f"{key}.encoder{level}")
            after |= new
            if level < len(self.encoders) - 1:
                gated, new = self.skip_gates[level](x, state, f"{key}.skip_gate{level}")
                after |= new
                skips.append(gated)
        for level, memory in enumerate(self.bottleneck):
            x, new = memory.along_time(x, state, f"{key}.bottleneck{level}")
            after |= new
        for level, decoder in enumerate(self.decoders):
            inputs = [x] if level == 0 else [x, skips.pop()]
            x, new = decoder(inputs, state, f"{key}.decoder{level}")
            after |= new
            if level < len(self.decoder_memories):
                x = self.decoder_memories[level].along_frequency(x)
            if level < len(self.decoder_gates):
                x, new = self.decoder_gates[level](x, state, f"{key}.decoder_gate{level}")
                after |= new
        a, b = self.output_re, self.output_im
        re, im = x[..., 0], x[..., 1]
        re, im = (
            a[0] * re - b[0] * im + (a[1] - b[1]),
            a[0] * im + b[0] * re + (a[1] + b[1]),
        )
        return torch.stack([re, im], dim=-1), after


class Frcrn(Pretrained):
    """Enhance speech by a complex mask in (-n_unets, n_unets), the sum of each U-Net's tanh."""

    config_class = FrcrnConfig
    kind = "frcrn"
    shipped_in = "recurra.speech.weights"
    config: FrcrnConfig

    def __init__(self, config: FrcrnConfig) -> None:
        super().__init__()
        self.config = config
        self.unets = nn.ModuleList(Unet(config) for _ in range(config.n_unets))

    def forward(self, audio: Tensor) -> Tensor:
        """Enhance whole clips.

        Args:
            audio: (B, n) float, n >= win_length, at `sample_rate`.

        Returns:
            (B, (T - 1) * hop_length + win_length), where T frames fit wholly into n: samples after
            the last whole frame are lost, and the outermost samples are unsure. `enhance` pads for
            that.
        """
        spectrum = stft(audio, self.config.win_length, self.config.hop_length)
        enhanced, _ = self.enhance_spectrum(spectrum)
        return istft(enhanced, self.config.win_length, self.config.hop_length)

    def enhance(self, audio: Tensor) -> Tensor:
        """Enhance clips of any length: audio (B, n), n >= 1, to (B, n)."""
        # The outermost samples of an inverse transform are unsure, and it ends on its hop grid.
        n, hop = audio.shape[1], self.config.hop_length
        edge = self.config.win_length - hop
        enhanced: Tensor = self(functional.pad(audio, (edge, edge + -n % hop)))
        return enhanced[:, edge : edge + n]

    def enhance_spectrum(
        self, spectrum: Tensor, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Mask a complex spectrum (B, T, F); a causal network streams it with the state."""
        mask, state = self.mask(spectrum, state)
        return spectrum * mask, state

    def mask(self, spectrum: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the complex mask (B, T, F) of a complex spectrum (B, T, F), and the next state."""
        mask, state = self.real_mask(torch.view_as_real(spectrum), state)
        return torch.view_as_complex(mask.contiguous()), state

    def real_mask(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Do the same on real and imaginary parts, (B, T, F, 2): ONNX has no complex numbers."""
        if self.config.compression != 1:
            magnitude = x.square().sum(dim=-1, keepdim=True)
            x = x * (magnitude + 1e-12) ** ((self.config.compression - 1) / 2)
        after: State = {}
        total = torch.zeros_like(x)
        for i, unet in enumerate(self.unets):
            x, new = unet(x, state, f"unet{i}")
            after |= new
            total = total + torch.tanh(x)
        return total, after

    def fuse(self) -> "Frcrn":
        """Turn the layers into their fast form, in place, for inference only; returns self."""
        for unet in self.unets:
            if isinstance(unet.encoders[0], FusedConv):
                break
            unet.encoders = nn.ModuleList(FusedConv(block) for block in unet.encoders)
            unet.decoders = nn.ModuleList(FusedTransposedConv(block) for block in unet.decoders)
            unet.encoder_memories = nn.ModuleList(map(FusedMemory, unet.encoder_memories))
            unet.decoder_memories = nn.ModuleList(map(FusedMemory, unet.decoder_memories))
        return self.eval()
