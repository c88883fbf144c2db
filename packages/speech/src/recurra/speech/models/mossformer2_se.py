"""MossFormer2 for enhancement: a real mask on the spectrum of a full-band recording.

Source: `MossFormer2_SE_48K` of ClearerVoice-Studio; the stack is that of `mossformer2.py`.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from recurra.core.pretrained import Pretrained
from recurra.speech.models.filter_bank import log_mel, with_differences
from recurra.speech.models.mossformer2 import MossFormer2Stack, MossFormer2StackConfig

# Features are of samples as 16-bit numbers: the weights know how loud those are.
_FULL_SCALE = 32768


@dataclass(frozen=True)
class MossFormer2SeConfig:
    """The sizes of an enhancing MossFormer2; the defaults are the official `MossFormer2_SE_48K`.

    Attributes:
        sample_rate: in Hz.
        win_length, hop_length: of the short-time Fourier transform and of the features, in samples.
        n_mels: bands of the features; with their first and second differences the stack sees three
            times as many.
        level_db: the level, in dB re full scale, that a recording is brought to before the network
            and back from after it; None: the network takes any level.
        stack: the rest of the network.
    """

    sample_rate: int = 48000
    win_length: int = 1920
    hop_length: int = 384
    n_mels: int = 60
    level_db: float | None = None
    stack: MossFormer2StackConfig = field(default_factory=MossFormer2StackConfig)


class MossFormer2Se(Pretrained):
    """Enhance speech by a mask of at least 0 on the magnitudes; the phase stays.

    The official network makes two masks and uses the first; there is one here. It adds noise to the
    features (dither), so that no two of its runs are alike; here there is none.
    """

    config_class = MossFormer2SeConfig
    kind = "mossformer2-se"
    shipped_in = "recurra.speech.weights"
    config: MossFormer2SeConfig

    def __init__(self, config: MossFormer2SeConfig) -> None:
        super().__init__()
        self.config = config
        self.stack = MossFormer2Stack(
            config.stack, d_in=3 * config.n_mels, d_out=config.win_length // 2 + 1, n_masks=1
        )

    def forward(self, audio: Tensor) -> Tensor:
        """Enhance whole clips.

        Args:
            audio: (B, n) float, n >= win_length, at `sample_rate`.

        Returns:
            (B, (T - 1) * hop_length + win_length), where T frames fit wholly into n: samples after
            the last whole frame are lost, and the outermost samples are unsure. `enhance` pads for
            that.
        """
        config = self.config
        # Halves of bf16 would lose the differences between frames.
        with torch.autocast(audio.device.type, enabled=False):
            features = self.features(audio)
        mask = self.mask(features).to(audio.dtype)
        window = _hamming(config.win_length, audio)
        spectrum = torch.stft(
            audio,
            config.win_length,
            config.hop_length,
            window=window,
            center=False,
            return_complex=True,
        )
        return torch.istft(
            spectrum * mask.transpose(1, 2),
            config.win_length,
            config.hop_length,
            window=window,
            center=False,
        )

    def features(self, audio: Tensor) -> Tensor:
        """Return what the stack sees of audio (B, n): (B, T, 3 * n_mels)."""
        config = self.config
        bands = log_mel(
            audio * _FULL_SCALE,
            config.sample_rate,
            win_length=config.win_length,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
        )
        return with_differences(bands)

    def mask(self, features: Tensor) -> Tensor:
        """Return the mask (B, T, F) for features (B, T, 3 * n_mels)."""
        mask: Tensor = self.stack(features)[:, 0]
        return mask

    def enhance(self, audio: Tensor) -> Tensor:
        """Enhance clips of any length: audio (B, n), n >= 1, to (B, n).

        Both ends are continued by their mirror image: so every sample lies under full windows, and
        no features of digital silence, which training has not seen, are made.
        """
        n, hop = audio.shape[1], self.config.hop_length
        edge = self.config.win_length - hop
        place = torch.arange(-edge, n + -n % hop + edge, device=audio.device) % (2 * n)
        mirrored = audio[:, torch.minimum(place, 2 * n - 1 - place)]
        enhanced: Tensor = self(mirrored)
        return enhanced[:, edge : edge + n]

    def fuse(self) -> "MossFormer2Se":
        """Turn the layers into their fast form, in place, for inference only; returns self."""
        self.stack.fuse()
        return self.eval()


def _hamming(length: int, like: Tensor) -> Tensor:
    """Return the symmetric Hamming window, as official code has it: (length,)."""
    return torch.hamming_window(length, periodic=False, dtype=like.dtype, device=like.device)
