"""What enhancement is trained to minimise."""

import torch
from torch import Tensor

from recurra.speech.loudness import disturbance


def si_sdr(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB, higher is better.

    Source: Le Roux et al. 2019, "SDR - half-baked or well done?" (arXiv 1811.02508, eq. 5), with
    both signals made zero-mean first.

    Args:
        reference: (..., n), what it should be, at any scale.
        estimate: (..., n).

    Returns:
        (...,) in dB; about -200 for a silent estimate or reference.
    """
    estimate = estimate - estimate.mean(dim=-1, keepdim=True)
    reference = reference - reference.mean(dim=-1, keepdim=True)
    tiny = torch.finfo(reference.dtype).tiny ** 0.5
    energy = reference.square().sum(dim=-1, keepdim=True)
    target = reference * (estimate * reference).sum(dim=-1, keepdim=True) / (energy + tiny)
    error = (estimate - target).square().sum(dim=-1)
    return 10 * torch.log10((target.square().sum(dim=-1) + tiny) / (error + tiny))


def compressed_spectral_error(
    estimate: Tensor, reference: Tensor, *, power: float = 0.3, n_fft: int = 512
) -> Tensor:
    """Mean squared error of compressed spectra: 0.7 of their magnitudes, 0.3 with the phase.

    Compression weighs quiet sounds about as the ear does, which waveform errors do not.
    Source: Braun and Tashev 2021, "A consolidated view of loss functions for supervised deep
    learning-based speech enhancement" (arXiv 2009.12286, eq. 4: power 0.3, weight 0.3).

    Args:
        estimate: (B, n), at a level near 1 (root mean square).
        reference: (B, n), at the same level.
        power: that magnitudes are raised to.
        n_fft: samples of a frame; frames are a quarter of it apart.

    Returns:
        (B,)
    """
    window = torch.hann_window(n_fft, dtype=reference.dtype, device=reference.device)
    pair = torch.stack([estimate, reference])  # (2, B, n)
    spectra = torch.stft(
        pair.flatten(0, 1), n_fft, n_fft // 4, window=window, return_complex=True
    ).unflatten(0, pair.shape[:2])
    # The small constant keeps the gradient of the power finite where a bin is silent.
    magnitude = (spectra.real.square() + spectra.imag.square() + 1e-8).sqrt()
    compressed = magnitude**power
    phased = spectra * (compressed / magnitude)
    of_magnitude = (compressed[0] - compressed[1]).square()
    of_phase = (phased[0] - phased[1]).abs().square()
    return (0.7 * of_magnitude + 0.3 * of_phase).mean(dim=(-2, -1))


def limited_snr(estimate: Tensor, reference: Tensor, *, limit_db: float = 30.0) -> Tensor:
    """Signal-to-noise ratio in dB that levels off at a limit: a wrong level counts as noise.

    Beyond the limit nothing is gained, so that easy clips leave the gradient to the hard ones.
    Source: Wisdom et al. 2020, "Unsupervised sound separation using mixture invariant training"
    (arXiv 2006.12701, eq. 2).

    Args:
        estimate: (..., n).
        reference: (..., n), not silent.
        limit_db: what a perfect estimate scores.

    Returns:
        (...,)
    """
    tiny = torch.finfo(reference.dtype).tiny ** 0.5
    energy = reference.square().sum(dim=-1) + tiny
    error = (estimate - reference).square().sum(dim=-1)
    return -10 * torch.log10(error / energy + 10 ** (-limit_db / 10))


def enhancement_loss(estimate: Tensor, clean: Tensor, noisy: Tensor) -> dict[str, Tensor]:
    """Compressed spectral error - 0.02 limited SNR + 0.3 disturbance, at the level of the input.

    Not SI-SDR, which does not care for the level: what is trained by it gives speech back softer
    or louder than it was. A clip whose target is silent (noise only) counts by its spectrum alone.

    Args:
        estimate: (B, n) at 16 kHz, what the model gives.
        clean: (B, n), what it should give.
        noisy: (B, n), what it was given, level as recorded.

    Returns:
        scalars "loss", "spectral", and of clips with speech the means "si_sdr" (dB) and
        "disturbance" (points of PESQ).
    """
    level = noisy.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=1e-5)
    estimate, clean = estimate / level, clean / level
    spectral = compressed_spectral_error(estimate, clean).mean()
    spoken = clean.square().mean(dim=-1) > 1e-6
    estimate, clean = estimate[spoken], clean[spoken]
    share = len(clean) / len(spoken)
    if share == 0:
        nothing = torch.zeros_like(spectral)
        return {
            "loss": spectral,
            "spectral": spectral.detach(),
            "si_sdr": nothing,
            "disturbance": nothing,
        }
    snr = limited_snr(estimate, clean).mean()
    heard = disturbance(estimate, clean).mean()
    with torch.no_grad():
        ratio = si_sdr(reference=clean, estimate=estimate).clamp(max=40).mean()
    return {
        "loss": spectral + share * (0.3 * heard - 0.02 * snr),
        "spectral": spectral.detach(),
        "si_sdr": ratio,
        "disturbance": heard.detach(),
    }
