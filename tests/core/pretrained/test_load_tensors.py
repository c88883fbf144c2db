"""Weights fit or are refused whole, with a list."""

import pytest
import torch
from torch import nn

from recurra.core.errors import CheckpointError
from recurra.core.pretrained import load_tensors


def test_tensors_are_cast_to_what_they_fill() -> None:
    layer = nn.Linear(2, 1).double()
    load_tensors(layer, {"weight": torch.tensor([[1.5, -2.0]]).half(), "bias": torch.tensor([3])})
    assert layer.weight.dtype == torch.float64
    assert layer.weight.tolist() == [[1.5, -2.0]]
    assert layer.bias.tolist() == [3.0]


def test_every_misfit_is_listed_and_nothing_is_copied() -> None:
    layer = nn.Linear(2, 3)
    before = layer.bias.detach().clone()
    with pytest.raises(CheckpointError) as caught:
        load_tensors(layer, {"bias": torch.zeros(2), "scale": torch.zeros(1)})
    assert str(caught.value) == (
        "the weights do not fit Linear: 1 unknown (scale); 1 missing (weight); "
        "1 mis-shaped (bias is (2,), not (3,))"
    )
    assert torch.equal(layer.bias, before)


def test_scalar_does_not_pass_for_a_vector_of_one() -> None:
    with pytest.raises(CheckpointError, match=r"bias is \(\), not \(1,\)"):
        load_tensors(nn.Linear(2, 1), {"weight": torch.zeros(1, 2), "bias": torch.tensor(0.0)})


def test_long_lists_show_ten_and_the_count() -> None:
    tensors = {f"extra{i}": torch.zeros(1) for i in range(12)}
    with pytest.raises(CheckpointError) as caught:
        load_tensors(nn.Identity(), tensors)
    assert "12 unknown (extra0, " in str(caught.value)
    assert "extra9 and 2 more)" in str(caught.value)
