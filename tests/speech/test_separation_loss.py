"""The loss of separation finds the best order, and asks for nothing but the voices."""

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from recurra.speech.separation_loss import best_permutation, separation_loss


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("n_voices", [2, 3, 4])
def test_the_best_order_is_the_optimal_assignment(n_voices):
    score = noise(6, n_voices, n_voices)
    best, orders = best_permutation(score)
    for row in range(6):
        voices, estimates = linear_sum_assignment(score[row].numpy(), maximize=True)
        assert orders[row].tolist() == estimates.tolist()
        assert best[row].item() == pytest.approx(score[row, voices, estimates].mean().item())


def test_a_perfect_separation_scores_the_limit_in_any_order_at_any_level():
    voices = noise(2, 2, 400)
    values = separation_loss(0.1 * voices.flip(1), voices, voices.sum(1))
    torch.testing.assert_close(values["loss"].item(), -30.0, atol=1e-3, rtol=0)
    assert values["si_sdri"] > 50


def test_the_mixture_itself_improves_nothing():
    voices = noise(2, 2, 4000)
    mixture = voices.sum(1)
    values = separation_loss(mixture[:, None].expand(-1, 2, -1), voices, mixture)
    assert values["si_sdri"].abs() < 1e-9


def test_the_gradient_is_that_of_the_best_order():
    voices = noise(1, 2, 50)
    estimates = (voices.flip(1) + 0.5 * noise(1, 2, 50).roll(3, 2)).requires_grad_()
    separation_loss(estimates, voices, voices.sum(1))["loss"].backward()
    found = estimates.grad.clone()
    estimates.grad = None
    separation_loss(estimates.flip(1), voices, voices.sum(1))["loss"].backward()
    torch.testing.assert_close(estimates.grad, found)
    assert found.abs().sum() > 0
