import math

import pytest
import torch
from safetensors.torch import load_file
from tests.core.layers.mossformer2_vectors import FOLDER

from recurra.core.layers import RotaryEmbedding


def test_interleaved_pairs_of_some_channels_are_those_of_rotary_embedding_torch():
    vector = load_file(FOLDER / "rotary.safetensors")
    x = vector["in.0"].transpose(1, 2)  # (B, T, H, D)
    y, state = RotaryEmbedding(8)(x)
    torch.testing.assert_close(y.transpose(1, 2), vector["out.0"], rtol=0, atol=1e-6)
    assert state["position"].tolist() == [20, 20]


def test_halves_worked_by_hand():
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]] * 2])
    y, _ = RotaryEmbedding(4, theta=100.0, pairs="halves")(x)
    cos, sin, slow_cos, slow_sin = (f(a) for a in (1, 0.1) for f in (math.cos, math.sin))
    second = [
        cos - 3 * sin,
        2 * slow_cos - 4 * slow_sin,
        3 * cos + sin,
        4 * slow_cos + 2 * slow_sin,
    ]
    torch.testing.assert_close(y[0], torch.tensor([[1.0, 2.0, 3.0, 4.0], second]))


@pytest.mark.parametrize("pairs", ["interleaved", "halves"])
def test_products_depend_on_the_distance_alone_after_a_million_steps(pairs):
    rotary = RotaryEmbedding(6, pairs=pairs)
    q, k = torch.randn(2, 1, 1, 6, generator=torch.Generator().manual_seed(0))
    products = []
    for start in (0, 1_000_000):
        turned, _ = rotary(q[None, 0], {"position": torch.tensor([start + 7])})
        key, _ = rotary(k[None, 0], {"position": torch.tensor([start])})
        products.append((turned * key).sum())
    torch.testing.assert_close(products[1], products[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("begin", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 4, 2), (1, 0, 2), (0, 4, 2), (2, 4, 3), (1, 1, 3)])
def test_it_does_not_matter_where_in_memory_x_begins(begin, shape):
    memory = torch.randn(64, generator=torch.Generator().manual_seed(0))
    x = memory[begin : begin + math.prod(shape)].reshape(shape)
    y, _ = RotaryEmbedding(2)(x)
    torch.testing.assert_close(y, RotaryEmbedding(2)(x.clone())[0], rtol=0, atol=0)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="even"):
        RotaryEmbedding(3)
    with pytest.raises(ValueError, match="2 channels, fewer than dim 4"):
        RotaryEmbedding(4)(torch.zeros(1, 1, 2))
