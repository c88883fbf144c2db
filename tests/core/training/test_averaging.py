"""The moving average of weights."""

import torch
from torch import nn

from recurra.core.training.averaging import WeightAverage


class Buffers(nn.Module):
    """A weight, an index, a mask, a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm1d(1)
        self.register_buffer("places", torch.arange(100))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


def test_weights_and_running_statistics_follow_the_recurrence():
    model = Buffers()
    average = WeightAverage(model, 0.9)
    for value in (1.0, 2.0, 4.0):
        model.weight.data.fill_(value)
        model.norm.running_mean.fill_(10 * value)
        average.update_parameters(model)
    # 1, then 0.9 * 1 + 0.1 * 2 = 1.1, then 0.9 * 1.1 + 0.1 * 4 = 1.39
    torch.testing.assert_close(average.module.weight.data, torch.tensor([1.39]))
    torch.testing.assert_close(average.module.norm.running_mean, torch.tensor([13.9]))


def test_indices_and_infinities_stay_what_they_are():
    model = Buffers()
    average = WeightAverage(model, 0.999)
    for _ in range(5):
        model.norm.num_batches_tracked += 1
        average.update_parameters(model)
    assert torch.equal(average.module.places, torch.arange(100))
    assert torch.equal(average.module.mask, model.mask)
    assert average.module.norm.num_batches_tracked == 5


def test_the_average_is_a_copy_in_eval_mode_that_needs_no_gradient():
    model = Buffers()
    average = WeightAverage(model, 0.9)
    assert not average.module.training
    assert not any(p.requires_grad for p in average.module.parameters())
    assert model.weight.requires_grad
    assert model.training
