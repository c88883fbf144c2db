import math

import pytest
import torch

from recurra.speech.losses import (
    compressed_spectral_error,
    enhancement_loss,
    limited_snr,
    si_sdr,
)


def tone(frequency, n=16000):
    return torch.sin(torch.arange(n, dtype=torch.float64) * 2 * math.pi * frequency / 16000)


def test_si_sdr_of_a_tone_with_a_tenth_of_another_is_20_db_at_any_scale():
    clean, error = tone(400), tone(1200)
    for scale in (1, 0.01, -3):
        assert (
            abs(si_sdr(reference=clean, estimate=scale * (clean + 0.1 * error)).item() - 20) < 1e-6
        )


def test_spectral_error_is_zero_only_for_equal_signals_and_grows_with_level_error():
    clean = tone(400)[None]
    assert compressed_spectral_error(clean, clean).item() == 0
    small, large = (compressed_spectral_error(g * clean, clean).item() for g in (0.9, 0.5))
    assert 0 < small < large


def test_the_loss_does_not_depend_on_the_recording_level():
    noisy, clean = (torch.randn(2, 8000, dtype=torch.float64) for _ in range(2))
    estimate = 0.5 * (noisy + clean)
    loud = enhancement_loss(estimate, clean, noisy)["loss"]
    quiet = enhancement_loss(0.01 * estimate, 0.01 * clean, 0.01 * noisy)["loss"]
    torch.testing.assert_close(loud, quiet)


def test_limited_snr_is_the_ratio_far_below_its_limit_and_the_limit_for_equal_signals():
    clean, error = tone(400), tone(1200)
    assert abs(limited_snr(clean + error, clean).item()) < 0.01
    assert abs(limited_snr(clean, clean).item() - 30) < 1e-6


@pytest.mark.parametrize("noise_gain", [0.0, 0.3])
def test_the_best_gain_of_what_is_heard_is_the_right_level(noise_gain):
    torch.manual_seed(0)
    clean = torch.randn(1, 8000, dtype=torch.float64)
    heard = clean + noise_gain * torch.randn_like(clean)
    gains = [0.5, 0.7, 0.85, 0.95, 1.0, 1.1, 1.3, 2.0]
    losses = [enhancement_loss(g * heard, clean, heard)["loss"].item() for g in gains]
    best = gains[losses.index(min(losses))]
    assert best == 1.0 if noise_gain == 0 else 0.85 <= best <= 1.0
    # Half the level, as SI-SDR had let it be, costs as much as noise 6 dB below the speech.
    assert losses[0] > min(losses) + 0.1


def test_a_silent_target_gives_a_finite_gradient_that_asks_for_less_sound():
    noisy = torch.randn(1, 8000, dtype=torch.float64)
    gain = torch.ones((), dtype=torch.float64, requires_grad=True)
    values = enhancement_loss(gain * noisy, torch.zeros_like(noisy), noisy)
    values["loss"].backward()
    assert values["si_sdr"] == 0
    assert 0 < gain.grad < math.inf
