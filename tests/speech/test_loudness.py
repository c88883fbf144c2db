from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from recurra.speech.loudness import disturbance

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def example():
    """Speech and its noise, (1, n) each."""
    clean, noisy = (
        torch.from_numpy(soundfile.read(EXAMPLES / f"{name}.wav")[0])[None]
        for name in ("clean", "noisy")
    )
    return clean, noisy - clean


def test_a_steady_change_of_level_is_not_heard(example):
    clean, _ = example
    assert disturbance(clean, clean).item() < 0.002
    assert disturbance(0.3 * clean, clean).item() < 0.002


def test_more_noise_disturbs_more(example):
    clean, noise = example
    values = [disturbance(clean + gain * noise, clean).item() for gain in (0, 0.1, 0.3, 1, 3)]
    assert values == sorted(values)
    assert values[1] > 0.5


def test_what_is_added_disturbs_more_than_what_is_taken_away(example):
    clean, _ = example
    spectrum = torch.fft.rfft(clean)
    hz = torch.linspace(0, 8000, spectrum.shape[-1])
    gone = torch.fft.irfft(spectrum * (hz < 3000), clean.shape[-1])
    assert disturbance(clean, gone) > disturbance(gone, clean)


def test_gradients_are_right_and_finite_for_a_silent_estimate():
    torch.manual_seed(0)
    reference = torch.randn(1, 5376, dtype=torch.float64)
    estimate = (reference + 0.3 * torch.randn_like(reference)).requires_grad_()
    value = disturbance(estimate, reference).sum()
    (gradient,) = torch.autograd.grad(value, estimate)
    direction = torch.randn_like(reference)
    step = 1e-6
    ahead, behind = (disturbance(estimate + s * direction, reference) for s in (step, -step))
    slope = (ahead - behind).item() / (2 * step)
    torch.testing.assert_close((gradient * direction).sum().item(), slope, rtol=1e-4, atol=1e-8)

    silent = torch.zeros_like(reference, requires_grad=True)
    disturbance(silent, reference).sum().backward()
    assert silent.grad.isfinite().all()


@pytest.mark.pesq
def test_it_ranks_noisy_speech_as_pesq_does(example):
    from pesq import pesq

    clean, noise = example
    rng = np.random.default_rng(0)
    white = torch.from_numpy(rng.standard_normal(noise.shape)) * noise.std()
    muffled = torch.nn.functional.avg_pool1d(white, 9, 1, 4)
    heard = [clean + g * n for n in (noise, white, 3 * muffled) for g in (0.1, 0.3, 0.6, 1)]
    ours = [disturbance(x, clean).item() for x in heard]
    mos = np.array([pesq(16000, clean[0].numpy(), x[0].numpy(), "wb") for x in heard])
    raw = (3.8224 - np.log(4 / (mos - 0.999) - 1)) / 1.3669  # before the curve of P.862.2
    assert np.corrcoef(ours, raw)[0, 1] < -0.97
