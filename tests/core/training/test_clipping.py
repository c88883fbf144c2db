import pytest
import torch
from torch import nn

from recurra.core.training.clipping import clip_gradients


def parameters(count=3):
    torch.manual_seed(0)
    found = [nn.Parameter(torch.randn(4, 2)) for _ in range(count)]
    for parameter in found[:-1]:
        parameter.grad = torch.randn(4, 2)
    return found


@pytest.mark.parametrize("limit", [0.5, 100.0, float("inf")])
def test_dense_gradients_are_clipped_as_torch_does_to_the_bit(limit):
    ours, theirs = parameters(), parameters()
    norm = clip_gradients(ours, limit)
    assert norm == nn.utils.clip_grad_norm_(theirs, limit)
    for one, other in zip(ours, theirs, strict=True):
        assert other.grad is None or torch.equal(one.grad, other.grad)


def test_a_row_that_was_met_twice_counts_as_its_sum():
    table, weight = nn.Parameter(torch.zeros(5, 2)), nn.Parameter(torch.zeros(1))
    rows = torch.tensor([[1, 3, 1]])
    values = torch.tensor([[1.0, 0.0], [0.0, 4.0], [2.0, 0.0]])  # row 1 has 3, row 3 has 4
    table.grad = torch.sparse_coo_tensor(rows, values, (5, 2))
    weight.grad = torch.tensor([12.0])
    assert clip_gradients([table, weight], 1.3) == pytest.approx(13.0)  # 3, 4, 12
    dense = table.grad.to_dense()
    torch.testing.assert_close(dense[[1, 3]], torch.tensor([[0.3, 0.0], [0.0, 0.4]]))
    assert weight.grad.item() == pytest.approx(1.2)


def test_nothing_to_clip_has_no_norm():
    assert clip_gradients([nn.Parameter(torch.zeros(2))], 1.0) == 0
