"""MossFormer2 for separation: as many voices as it was made for, from one channel.

A learned filter bank, the stack of `mossformer2.py`, a mask of the filters for each speaker, and
the way back. Source: as there; `MossFormer2_SS_16K` of ClearerVoice-Studio and the models of the
paper (repository alibabasglab/MossFormer2) are this network.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.pretrained import Pretrained
from recurra.speech.models.mossformer2 import MossFormer2Stack, MossFormer2StackConfig
from recurra.speech.models.stft import overlap_add


@dataclass(frozen=True)
class MossFormer2SsConfig:
    """The sizes of a separating MossFormer2; the defaults are the official `MossFormer2_SS_16K`.

    Attributes:
        sample_rate: in Hz; the models of the paper have 8000.
        n_speakers: how many voices it separates.
        n_filters: of the filter bank.
        win_length, hop_length: of the filter bank, in samples.
        masking: the stack's outputs are multiplied with the filtered mixture. False takes them as
            the filtered voices, as the paper's model for WHAMR! does.
        level_db: the level, in dB re full scale, that a recording is brought to before the network
            and back from after it; None: the network takes any level.
        stack: the rest of the network.
    """

    sample_rate: int = 16000
    n_speakers: int = 2
    n_filters: int = 512
    win_length: int = 16
    hop_length: int = 8
    masking: bool = True
    level_db: float | None = -25.0
    stack: MossFormer2StackConfig = field(
        default_factory=lambda: MossFormer2StackConfig(memory="dense")
    )


# The preset of our own: two voices at 16 kHz, 2.0 million parameters, 125 frames a second. Longer
# frames than the official ones cost less, so that as much training hears more.
MOSSFORMER2_SMALL = MossFormer2SsConfig(
    n_filters=512,
    win_length=256,
    hop_length=128,
    level_db=None,
    stack=MossFormer2StackConfig(
        n_blocks=6, d_model=160, d_inner=80, d_key=64, group=128, memory="dense", dropout=0.0
    ),
)


class MossFormer2Ss(Pretrained):
    """Separate the voices in a channel."""

    config_class = MossFormer2SsConfig
    kind = "mossformer2-ss"
    shipped_in = "recurra.speech.weights"
    config: MossFormer2SsConfig

    def __init__(self, config: MossFormer2SsConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = nn.Linear(config.win_length, config.n_filters, bias=False)
        self.stack = MossFormer2Stack(
            config.stack, d_in=config.n_filters, d_out=config.n_filters, n_masks=config.n_speakers
        )
        self.synthesis = nn.Linear(config.n_filters, config.win_length, bias=False)

    def use_fourier_filters(self) -> None:
        """Begin with filters that are cosines and sines, which masks of one give the audio back.

        A rectified filter keeps one sign, so that each comes with its negative; square-root Hann
        windows on both sides add up to one where frames overlap by half.

        Raises:
            ValueError: n_filters is not 2 win_length, or hop_length not half of it.
        """
        n_filters, n = self.config.n_filters, self.config.win_length
        if n_filters != 2 * n or 2 * self.config.hop_length != n or n % 2:
            raise ValueError(
                "filters that begin as a Fourier basis need n_filters = 2 win_length and an even "
                f"win_length = 2 hop_length, not {n_filters}, {n} and {self.config.hop_length}"
            )
        spectra = torch.fft.rfft(torch.eye(n, dtype=torch.float64), norm="ortho")  # (n, n / 2 + 1)
        basis = torch.cat([spectra.real, -spectra.imag[:, 1:-1]], dim=1)  # (n, n)
        basis[:, 1 : n // 2] *= 2**0.5
        basis[:, n // 2 + 1 :] *= 2**0.5
        windowed = basis * torch.hann_window(n, dtype=torch.float64).sqrt()[:, None]
        filters = torch.cat([windowed, -windowed], dim=1)
        with torch.no_grad():
            self.analysis.weight.copy_(filters.T)
            self.synthesis.weight.copy_(filters)

    def forward(self, audio: Tensor) -> Tensor:
        """Separate whole clips.

        Args:
            audio: (B, n) float, n >= win_length, at `sample_rate`.

        Returns:
            (B, n_speakers, (T - 1) * hop_length + win_length), where T frames fit wholly into n:
            samples after the last whole frame are lost. `separate` pads for that.
        """
        frames = audio.unfold(-1, self.config.win_length, self.config.hop_length)
        filtered = torch.relu(self.analysis(frames))  # (B, T, C)
        masks = self.stack(filtered)  # (B, S, T, C)
        voices = filtered[:, None] * masks if self.config.masking else masks
        waves = overlap_add(self.synthesis(voices).flatten(0, 1), self.config.hop_length)
        return waves.unflatten(0, voices.shape[:2])

    def separate(self, audio: Tensor) -> Tensor:
        """Separate clips of any length: audio (B, n), n >= 1, to (B, n_speakers, n)."""
        n, length = audio.shape[1], self.config.win_length
        missing = max(length - n, (length - n) % self.config.hop_length)
        return self(functional.pad(audio, (0, missing)))[..., :n]

    def fuse(self) -> "MossFormer2Ss":
        """Turn the layers into their fast form, in place, for inference only; returns self."""
        self.stack.fuse()
        return self.eval()
