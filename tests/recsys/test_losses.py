import itertools
import math

import numpy as np
import pytest
import torch

from recurra.recsys.losses import gbce, sampled_softmax
from recurra.recsys.negatives import NegativeSampler


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
                hidden,
                table.__getitem__,
                bias,
                torch.tensor([target]),
                negatives,
                shares[negatives].log(),
            )
            mean += shares[negatives].prod() * (loss + scores[target]).exp()
        torch.testing.assert_close(mean, scores.exp().sum())


def test_sampled_softmax_by_hand():
    hidden, embed = torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0], [2.0], [3.0]]).__getitem__
    quarter = torch.full((2,), math.log(0.25))
    loss = sampled_softmax(hidden, embed, None, torch.tensor([1]), torch.tensor([2, 3]), quarter)
    e = math.e
    assert loss == pytest.approx(math.log(e + 2 * e**2 + 2 * e**3) - 1)  # each counts 1 / (2 / 4)
    loss = sampled_softmax(hidden, embed, None, torch.tensor([3]), torch.tensor([3, 1]), quarter)
    assert loss == pytest.approx(math.log(e**3 + 2 * e) - 3)  # the target drawn does not count


def test_gbce_by_hand():
    hidden = torch.tensor([[1.0]])
    embed = torch.tensor([[0.0], [1.0], [2.0], [-1.0], [0.5], [0.0]]).__getitem__
    bias = torch.tensor([0.0, 0.5, 0.0, 0.0, 0.0, 0.0])
    # 5 items, 2 negatives: a = 1 / 2; t = 0.75: beta = 0.5 * (0.75 * (1 - 2) + 2) = 0.625
    loss = gbce(hidden, embed, bias, torch.tensor([1]), torch.tensor([2, 3]), 0.75, n_items=5)

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    expected = 0.625 * math.log(sigmoid(1.5)) + math.log(1 - sigmoid(2)) + math.log(1 - sigmoid(-1))
    assert loss == pytest.approx(-expected / 3)
    plain = gbce(hidden, embed, bias, torch.tensor([1]), torch.tensor([2, 1]), 0.0, n_items=5)
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
