"""MossFormer2 for super-resolution: speech of a narrow band becomes speech of the full band.

Source: `MossFormer2_SR_48K` of ClearerVoice-Studio. The stack of `mossformer2.py` turns the mel
spectrogram of a recording into that of a full-band one, HiFi-GAN makes a waveform of it, and the
recording's own band takes the place of the waveform's. Its numbers are those of the official code
with made-up weights; the official weights were not at hand.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from recurra.core.pretrained import Pretrained
from recurra.speech.models.hifi_gan import HifiGan, HifiGanConfig, log_mel_magnitudes
from recurra.speech.models.mossformer2 import MossFormer2Stack, MossFormer2StackConfig

_SHARE = 0.9996  # of a recording's energy lies in its band
_BAND_FFT = 256  # samples of the frames by which the band is found
_ORDER = 4  # of the Butterworth filters between the recording and what was made
_EDGE_SECONDS = 0.1


@dataclass(frozen=True)
class MossFormer2SrConfig:
    """The sizes of a super-resolving MossFormer2; the defaults are the official ones.

    Attributes:
        sample_rate: in Hz, of what goes in, after resampling, and of what comes out.
        win_length: of the frames, in samples; they are `hop_length` apart.
        n_mels: bands of a frame, for the stack and for the generator.
        top_hz: the upper end of the highest band.
        level_db: the level, in dB re full scale, that a recording is brought to before the network
            and back from after it; None: the network takes any level.
        stack: from frames to frames.
        generator: from frames to samples.
    """

    sample_rate: int = 48000
    win_length: int = 1024
    n_mels: int = 80
    top_hz: float = 8000.0
    level_db: float | None = None
    stack: MossFormer2StackConfig = field(default_factory=MossFormer2StackConfig)
    generator: HifiGanConfig = field(default_factory=HifiGanConfig)

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next: what the generator makes of one."""
        return self.generator.hop_length


class MossFormer2Sr(Pretrained):
    """Make the sound above the band of a recording of speech."""

    config_class = MossFormer2SrConfig
    kind = "mossformer2-sr"
    shipped_in = "recurra.speech.weights"
    config: MossFormer2SrConfig

    def __init__(self, config: MossFormer2SrConfig) -> None:
        super().__init__()
        self.config = config
        self.stack = MossFormer2Stack(
            config.stack, d_in=config.n_mels, d_out=config.n_mels, n_masks=1
        )
        self.generator = HifiGan(config.generator, n_mels=config.n_mels)

    def forward(self, audio: Tensor) -> Tensor:
        """Make full-band speech of clips, all of its bands: audio (B, n), n >= 1, to (B, n).

        Both ends are continued by reflection, as official code does; a last frame that is not whole
        too, where official code drops it.
        """
        # Halves of bf16 would lose what is quiet.
        with torch.autocast(audio.device.type, enabled=False):
            features = self.features(audio)
        made: Tensor = self.generator(self.stack(features)[:, 0])
        return made[:, : audio.shape[1]].to(audio.dtype)

    def features(self, audio: Tensor) -> Tensor:
        """Return what the stack sees of audio (B, n): (B, ceil(n / hop_length), n_mels)."""
        config = self.config
        hop = config.hop_length
        edge = (config.win_length - hop) // 2
        return log_mel_magnitudes(
            _reflected(audio, edge, -audio.shape[1] % hop + edge),
            config.sample_rate,
            win_length=config.win_length,
            hop_length=hop,
            n_mels=config.n_mels,
            top_hz=config.top_hz,
        )

    def widen(self, audio: Tensor) -> Tensor:
        """Keep the band of clips and make the sound above it: audio (B, n), n >= 1, to (B, n)."""
        return with_own_band(audio, self(audio), self.config.sample_rate)

    def fuse(self) -> "MossFormer2Sr":
        """Turn the stack's layers into their fast form, in place, for inference only."""
        self.stack.fuse()
        return self.eval()


def with_own_band(audio: Tensor, made: Tensor, sample_rate: int) -> Tensor:
    """Put the band of a recording into what was made of it.

    The recording up to the end of its band, `band_end_hz`, and what was made above it: both go
    through Butterworth filters of order 4, forwards and backwards, whose gains add up to 1. Source:
    `bandwidth_sub` of ClearerVoice-Studio. What was made is not faded in over the first 100 ms, as
    it is there.

    Args:
        audio: (B, n).
        made: (B, n), aligned with it.
        sample_rate: of both, in Hz.

    Returns:
        (B, n); a silent recording, and one that has the whole band, as they are.
    """
    end_hz = band_end_hz(audio, sample_rate)[:, None]
    edge = min(round(_EDGE_SECONDS * sample_rate), audio.shape[1] - 1)
    difference = _continued(audio - made, edge)
    half = torch.pi / sample_rate
    hertz = torch.fft.rfftfreq(difference.shape[1], 1 / sample_rate, device=audio.device)
    steepness = (torch.tan(half * hertz) / torch.tan(half * end_hz)) ** (2 * _ORDER)
    kept = torch.fft.rfft(difference) / (1 + steepness)
    mixed = made + torch.fft.irfft(kept, n=difference.shape[1])[:, edge : edge + audio.shape[1]]
    return torch.where(end_hz < sample_rate / 2, mixed, audio)


def band_end_hz(audio: Tensor, sample_rate: int) -> Tensor:
    """Return the frequency below which nearly all energy of audio (B, n) lies: (B,), in Hz.

    It is the lowest one of 128 that has 99.96 % at and below it, and half the rate for silence.
    """
    hop = _BAND_FFT // 2
    padded = functional.pad(audio, (hop, hop + -audio.shape[1] % hop))
    window = torch.hann_window(_BAND_FFT, dtype=audio.dtype, device=audio.device)
    power = torch.fft.rfft(padded.unfold(-1, _BAND_FFT, hop) * window).abs().square()
    below = power.sum(dim=1).cumsum(dim=-1)  # (B, F)
    bins = (below < _SHARE * below[:, -1:]).sum(dim=-1).clamp(min=1)
    bins = torch.where(below[:, -1] > 0, bins, _BAND_FFT // 2)
    return bins * (sample_rate / _BAND_FFT)


def _continued(x: Tensor, edge: int) -> Tensor:
    """Continue x (B, n), n > edge, by its point reflection at both ends, as `filtfilt` does."""
    before = 2 * x[:, :1] - x[:, 1 : edge + 1].flip(1)
    after = 2 * x[:, -1:] - x[:, -edge - 1 : -1].flip(1)
    return torch.cat([before, x, after], dim=1)


def _reflected(x: Tensor, left: int, right: int) -> Tensor:
    """Continue x (B, n), any n >= 1, by reflection at its first and last sample."""
    n = x.shape[1]
    period = max(1, 2 * (n - 1))
    place = torch.arange(-left, n + right, device=x.device) % period
    return x[:, torch.minimum(place, period - place)]
