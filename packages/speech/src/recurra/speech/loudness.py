"""How differently two signals sound: the disturbance of their loudness that PESQ rests on."""

from functools import cache

import torch
from torch import Tensor

SAMPLE_RATE = 16000
N_FFT, HOP = 512, 256  # 32 ms, half overlapped (P.862, 10.2.1)
N_BANDS = 49  # of 0.43 Bark, for wide-band speech (P.862.2)
LISTENING_DB = 79.0  # sound pressure level that speech is listened to at (P.862, 10.1.2)
EXPONENT = 0.23  # of loudness over power (Zwicker)
LOUDNESS = 0.1866  # of a power of 1, before the exponent (P.862's constant at 16 kHz)
TINY = 1e-12


def disturbance(estimate: Tensor, reference: Tensor) -> Tensor:
    """About how many points of PESQ, before its curve, the estimate loses; 0 for the reference.

    Loudness over Bark bands and frames is compared as in PESQ: a steady level or frequency response
    and small differences are not heard, what was added counts more than what was taken away, and
    the worst of each third of a second counts most. Nothing is aligned in time; PESQ's tables of
    bands and thresholds are formulas here.
    Source: ITU-T P.862 (2001), 10.2, with the bands of P.862.2 (2007); Bark scale of Traunmüller
    1990, threshold in quiet of Terhardt 1979.

    Args:
        estimate: (B, n) at 16 kHz, n at least 5,376 (0.34 s).
        reference: (B, n), not silent.

    Returns:
        (B,)
    """
    bands, threshold, width = _ear(reference.dtype, reference.device)
    heard = _band_powers(reference, bands)  # (B, N, bands)
    given = _band_powers(estimate, bands)
    heard, given = _equalised(heard, given, threshold)

    loud, loud_given = _loudness(heard, threshold), _loudness(given, threshold)
    difference = (loud_given - loud).abs()
    difference = (difference - 0.25 * torch.minimum(loud, loud_given)).clamp(min=0)
    added = ((given + 50) / (heard + 50)) ** 1.2
    added = torch.where(added < 3, 0.0, added.clamp(max=12))

    span = width * len(threshold)
    both = span**0.5 * width * (difference.square().sum(dim=-1) + TINY).sqrt()  # (B, N)
    asymmetric = width * (difference * added).sum(dim=-1)
    weight = ((_audible(heard, threshold) + 1e5) / 1e7) ** -0.04
    return 0.1 * _over_time(both * weight) + 0.0309 * _over_time(asymmetric * weight)


def _band_powers(x: Tensor, bands: Tensor) -> Tensor:
    """Power of each frame and band (B, N, bands) when x is played at the listening level."""
    window = torch.hann_window(N_FFT, dtype=x.dtype, device=x.device)
    spectrum = torch.stft(x, N_FFT, HOP, window=window, center=False, return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()  # (B, F, N)
    banded = torch.matmul(power.transpose(1, 2), bands)
    played = 10 ** (LISTENING_DB / 10)
    return banded * (played / (banded.sum(dim=-1).mean(dim=-1) + TINY))[:, None, None]


def _equalised(heard: Tensor, given: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    """Give the reference the response of the estimate, and that the levels of frames (10.2.4)."""
    spoken = (_audible(heard, 100 * threshold) > 1e7).to(heard.dtype)[..., None]
    means = [
        (power * spoken).sum(dim=1) / spoken.sum(dim=1).clamp(min=1) for power in (heard, given)
    ]
    response = ((means[1] + 1e3) / (means[0] + 1e3)).clamp(0.01, 100)
    heard = heard * response[:, None]

    level = (_audible(heard, threshold) + 5e3) / (_audible(given, threshold) + 5e3)
    level = torch.cat([level[:, :1], 0.8 * level[:, 1:] + 0.2 * level[:, :-1]], dim=1)
    return heard, given * level.clamp(3e-4, 5)[..., None]


def _audible(power: Tensor, threshold: Tensor) -> Tensor:
    """Power of a frame in the bands above the threshold, (B, N)."""
    return (power * (power > threshold)).sum(dim=-1)


def _loudness(power: Tensor, threshold: Tensor) -> Tensor:
    """Sone a Bark, 0 below the threshold (P.862, 10.2.6, after Zwicker)."""
    over = (0.5 + 0.5 * power / threshold).clamp(min=1.0)
    return LOUDNESS * (2 * threshold) ** EXPONENT * (over**EXPONENT - 1)


def _over_time(frames: Tensor) -> Tensor:
    """Mean of power 6 over 20 frames, half overlapped, then of power 2 over all (10.2.9)."""
    pieces = (frames.clamp(max=45).unfold(-1, 20, 10) ** 6).mean(dim=-1) + TINY
    return (pieces ** (1 / 3)).mean(dim=-1).sqrt()


@cache
def _ear(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, float]:
    """Which bins make up which band (F, bands), when it begins to be heard, its width in Bark."""
    hz = torch.arange(N_FFT // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / N_FFT
    bark = 26.81 * hz / (1960 + hz) - 0.53
    edges = torch.linspace(bark[1].item(), bark[-1].item(), N_BANDS + 1, dtype=torch.float64)
    place = (torch.bucketize(bark[1:], edges, right=True) - 1).clamp(max=N_BANDS - 1)
    # Speech is heard through a headset, which passes little below 100 Hz (P.862.2).
    headset = 1 / (1 + (100 / hz[1:]) ** 4)
    bands = torch.zeros(len(hz), N_BANDS, dtype=torch.float64)
    bands[torch.arange(1, len(hz)), place] = headset

    centre = (edges[1:] + edges[:-1]) / 2 + 0.53
    khz = 1.96 * centre / (26.81 - centre)
    quiet_db = 3.64 * khz**-0.8 - 6.5 * torch.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4
    threshold = 10 ** (quiet_db / 10)
    return bands.to(device, dtype), threshold.to(device, dtype), (edges[1] - edges[0]).item()
