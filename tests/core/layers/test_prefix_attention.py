import pytest
import torch

from recurra.core.layers import PrefixAttention


def test_the_last_output_is_torchs_attention_with_the_learned_queries():
    torch.manual_seed(0)
    layer = PrefixAttention(6, n_heads=2)
    attention = torch.nn.MultiheadAttention(6, 2, batch_first=True)
    with torch.no_grad():
        attention.in_proj_weight.copy_(
            torch.cat([torch.eye(6), layer.key.weight, layer.value.weight])
        )
        attention.in_proj_bias[:] = 0
        attention.in_proj_bias[12:] = layer.value.bias
        attention.out_proj.load_state_dict(layer.out.state_dict())
        x = torch.randn(3, 20, 6)
        expected, _ = attention(layer.query.reshape(1, 1, 6).expand(3, 1, 6), x, x)
        y, _ = layer(x)
    torch.testing.assert_close(y[:, -1:], expected, rtol=0, atol=1e-6)


def test_a_width_that_the_heads_do_not_divide_is_named():
    with pytest.raises(ValueError, match="d_model 7 must be a multiple of n_heads 2"):
        PrefixAttention(7, 2)
