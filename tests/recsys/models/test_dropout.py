import pytest
import torch

from recurra.recsys.models.dropout import Dropout


def test_a_share_is_dropped_and_the_rest_keeps_the_mean():
    torch.manual_seed(0)
    y = Dropout(0.3)(torch.ones(1000, 1001))
    assert float((y == 0).float().mean()) == pytest.approx(0.3, abs=2e-3)
    assert float(y.max()) == pytest.approx(1 / 0.7, rel=1e-4)
    assert float(y.mean()) == pytest.approx(1.0, abs=2e-3)


def test_neighbours_that_share_a_draw_are_dropped_independently():
    torch.manual_seed(0)
    kept = Dropout(0.5)(torch.ones(100_000, 4))
    assert torch.corrcoef(kept.T).sub(torch.eye(4)).abs().max() < 0.02


def test_gradients_are_those_of_what_was_kept():
    x = torch.randn(7, 5, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad * x.detach(), y.detach())


def test_a_seed_decides_and_evaluation_drops_nothing():
    x, layer = torch.randn(3, 5), Dropout(0.5)
    found = []
    for _ in range(2):
        torch.manual_seed(4)
        found.append(layer(x))
    assert torch.equal(*found)
    assert torch.equal(layer.eval()(x), x)


def test_the_ends_of_the_scale():
    x = torch.randn(300)
    assert torch.equal(Dropout(0.0)(x), x)
    assert not Dropout(1.0)(x).any()
    torch.manual_seed(0)  # of 65,536 numbers one is lost, here none
    torch.testing.assert_close(Dropout(1e-9)(x), x, rtol=1e-4, atol=0)
