import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from recurra.recsys.losses import BLOCK, blockwise_cross_entropy, gbce, sampled_softmax
from recurra.recsys.negatives import NegativeSampler


@pytest.mark.parametrize("positions", [1, BLOCK - 1, BLOCK, 2 * BLOCK + 3])
def test_the_loss_and_its_gradients_are_those_of_the_whole_matrix(positions):
    torch.manual_seed(0)
    hidden, table = torch.randn(positions, 6).double(), torch.randn(11, 6).double()
    bias, targets = torch.randn(11).double(), torch.randint(11, (positions,))
    found = []
    for whole in (True, False):
        leaves = [x.clone().requires_grad_() for x in (hidden, table, bias)]
        if whole:
            scores = functional.linear(*leaves)
            loss = functional.cross_entropy(scores, targets)
        else:
            loss = blockwise_cross_entropy(*leaves, targets)
        found.append([loss.detach(), *torch.autograd.grad(3 * loss, leaves)])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


def test_scores_beyond_the_range_of_exp_give_finite_numbers():
    hidden = torch.tensor([[1000.0, 0.0]], requires_grad=True)
    table = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    loss = blockwise_cross_entropy(hidden, table, torch.zeros(2), torch.tensor([1]))
    loss.backward()
    assert loss == 2000
    assert hidden.grad.isfinite().all()


def test_no_position_costs_nothing_and_moves_nothing():
    hidden, table = torch.randn(0, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    loss = blockwise_cross_entropy(
        hidden, table, torch.zeros(5, requires_grad=True), torch.empty(0, dtype=torch.int64)
    )
    loss.backward()
    assert loss == 0
    assert not table.grad.any()


def test_without_a_bias_it_is_as_with_zeros():
    torch.manual_seed(0)
    hidden, table, targets = torch.randn(7, 4), torch.randn(5, 4), torch.arange(7) % 5
    loss = blockwise_cross_entropy(hidden, table, None, targets)
    torch.testing.assert_close(loss, functional.cross_entropy(hidden @ table.t(), targets))


def test_the_sum_over_some_items_is_unbiased_over_every_draw():
    """exp(loss) * exp(score of the target) is the estimated sum over the catalogue."""
    torch.manual_seed(0)
    hidden, table, bias = torch.randn(1, 3).double(), torch.randn(4, 3).double(), torch.randn(4)
    bias = bias.double()
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    scores = (hidden @ table.t() + bias)[0]
    for target in range(4):
        mean = 0.0
        for drawn in itertools.product(range(4), repeat=2):
            negatives = torch.tensor(drawn)
            loss = sampled_softmax(
                hidden, table, bias, torch.tensor([target]), negatives, shares[negatives].log()
            )
            mean += shares[negatives].prod() * (loss + scores[target]).exp()
        torch.testing.assert_close(mean, scores.exp().sum())


def test_sampled_softmax_by_hand():
    hidden, table = torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    quarter = torch.full((2,), math.log(0.25))
    loss = sampled_softmax(hidden, table, None, torch.tensor([1]), torch.tensor([2, 3]), quarter)
    e = math.e
    assert loss == pytest.approx(math.log(e + 2 * e**2 + 2 * e**3) - 1)  # each counts 1 / (2 / 4)
    loss = sampled_softmax(hidden, table, None, torch.tensor([3]), torch.tensor([3, 1]), quarter)
    assert loss == pytest.approx(math.log(e**3 + 2 * e) - 3)  # the target drawn does not count


def test_gbce_by_hand():
    hidden, table = torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0], [2.0], [-1.0], [0.5], [0.0]])
    bias = torch.tensor([0.0, 0.5, 0.0, 0.0, 0.0, 0.0])
    # 5 items, 2 negatives: a = 1 / 2; t = 0.75: beta = 0.5 * (0.75 * (1 - 2) + 2) = 0.625
    loss = gbce(hidden, table, bias, torch.tensor([1]), torch.tensor([2, 3]), 0.75, n_items=5)

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    expected = 0.625 * math.log(sigmoid(1.5)) + math.log(1 - sigmoid(2)) + math.log(1 - sigmoid(-1))
    assert loss == pytest.approx(-expected / 3)
    plain = gbce(hidden, table, bias, torch.tensor([1]), torch.tensor([2, 1]), 0.0, n_items=5)
    assert plain == pytest.approx(-(math.log(sigmoid(1.5)) + math.log(1 - sigmoid(2))) / 3)


def test_negatives_are_drawn_by_the_power_of_their_counts():
    torch.manual_seed(0)
    sampler = NegativeSampler(np.array([7, 16, 4, 0]), power=0.5)  # a count of 0 is drawn as 1
    items, log_shares = sampler.draw(70_000, torch.device("cpu"))
    counts = torch.bincount(items, minlength=4).double() / 70_000
    torch.testing.assert_close(counts, torch.tensor([0, 4, 2, 1]).double() / 7, rtol=0, atol=0.01)
    torch.testing.assert_close(log_shares.exp()[items == 1][0], torch.tensor(4 / 7))
    alike, _ = NegativeSampler(np.array([7, 16, 4, 0]), power=0.0).draw(3_000, torch.device("cpu"))
    assert torch.bincount(alike, minlength=4)[1:].min() > 900
