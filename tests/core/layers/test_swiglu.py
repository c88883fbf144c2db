import math

import torch

from recurra.core.layers import SwiGLU


def test_two_hidden_channels_worked_by_hand():
    layer = SwiGLU(1, 2, bias=False)
    with torch.no_grad():
        layer.gate.weight.copy_(torch.tensor([[1.0], [-2.0]]))
        layer.up.weight.copy_(torch.tensor([[3.0], [1.0]]))
        layer.out.weight.copy_(torch.tensor([[1.0, 10.0]]))
        y, state = layer(torch.tensor([[[2.0]]]))
    silu = 2 / (1 + math.exp(-2)), -4 / (1 + math.exp(4))
    torch.testing.assert_close(y.item(), silu[0] * 6 + 10 * silu[1] * 2, rtol=1e-6, atol=0)
    assert state == {}


def test_dropout_is_for_training_only():
    torch.manual_seed(0)
    layer, x = SwiGLU(4, 8, dropout=0.5), torch.randn(2, 3, 4)
    assert (layer(x)[0] == 0).any()
    layer.eval()
    assert layer(x)[0].all()
