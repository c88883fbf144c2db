import math

import pytest
import torch

from recurra.core.kernels import linear_scan, prefix_attention, ssd
from recurra.core.layers import Fsmn, PrefixAttention, RotaryEmbedding, as_matrix


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def test_the_matrix_times_x_is_y_and_causal_ones_are_lower_triangular():
    x, layer = random(1, 6, 3), RotaryEmbedding(2)
    matrix = as_matrix(layer, x)
    assert matrix.shape == (6, 3, 6, 3)
    other = random(1, 6, 3, seed=1)
    y = torch.einsum("tcsk,sk->tc", matrix, other[0])
    torch.testing.assert_close(y, layer(other)[0][0], rtol=0, atol=1e-12)
    assert not matrix.permute(1, 3, 0, 2).triu(1).any()
    turned = torch.tensor([math.cos(2), math.sin(2)], dtype=torch.float64)
    torch.testing.assert_close(matrix[2, :2, 2, 0], turned, rtol=0, atol=1e-12)


def test_ssd_is_semiseparable():
    log_a, b, c = -random(1, 5, 1).abs(), random(1, 5, 1, 2, seed=1), random(1, 5, 1, 2, seed=2)
    matrix = as_matrix(lambda x: ssd(x, log_a, b, c), random(1, 5, 1, 1)).squeeze()
    expected = torch.zeros(5, 5, dtype=torch.float64)
    for i in range(5):
        for j in range(i + 1):
            expected[i, j] = c[0, i, 0] @ b[0, j, 0] * log_a[0, j + 1 : i + 1].sum().exp()
    torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-12)
    assert torch.linalg.matrix_rank(matrix[2:, :3]) == 2  # the state has two numbers


def test_a_scan_has_products_of_decays_and_attention_rows_of_weights():
    decays = torch.tensor([[0.5], [0.25], [0.5]], dtype=torch.float64)
    scan = as_matrix(lambda b: linear_scan(decays, b), random(1, 3, 1)).squeeze()
    assert scan.tolist() == [[1, 0, 0], [0.25, 1, 0], [0.125, 0.5, 1]]
    k = random(1, 4, 1, 3)
    attention = as_matrix(
        lambda v: prefix_attention(random(1, 3, seed=1), k, v), random(1, 4, 1, 1)
    ).squeeze()
    torch.testing.assert_close(attention.sum(1), torch.ones(4, dtype=torch.float64))


def test_what_is_not_linear_is_refused():
    x = random(1, 4, 2)
    for layer in (Fsmn(2), PrefixAttention(2)):
        with pytest.raises(ValueError, match="is not linear in x, so it has no matrix"):
            as_matrix(layer.double(), x)
    with pytest.raises(ValueError, match="away from y"):
        as_matrix(lambda x: x + 1, x)
    with pytest.raises(ValueError, match="away from y"):
        as_matrix(torch.tanh, x)
    with pytest.raises(ValueError, match=r"one row, \(1, T, ...\), not \(2, 4, 2\)"):
        as_matrix(lambda x: x, random(2, 4, 2))
