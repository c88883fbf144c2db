"""`DenseFsmn` gives MossFormer2's official numbers."""

import pytest
import torch
from tests.core.layers.mossformer2_vectors import FILTERS, load

from recurra.core.layers import DenseFsmn


def test_whole_rows_are_the_official_numbers():
    layer = DenseFsmn(8, order=20)
    x, expected = load("ss_UniDeepFsmn_dilated", layer, FILTERS)
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_state_is_refused():
    with pytest.raises(ValueError, match="does not stream"):
        DenseFsmn(2)(torch.zeros(1, 3, 2), {"memory": torch.zeros(1)})


def test_its_filters_alone_are_the_official_numbers():
    layer = DenseFsmn(8, 16, order=20)
    both_signs = torch.cat([torch.eye(8), -torch.eye(8)])
    projection = {"linear.weight": both_signs, "project.weight": both_signs.t()}  # p = x
    projection |= {"linear.bias": torch.zeros(16)}
    filters = {name.removeprefix("conv."): ours for name, ours in FILTERS.items()}
    x, expected = load("ss_DilatedDenseNet", layer, filters, more=projection)
    x, expected = (image[..., 0].transpose(1, 2) for image in (x, expected))
    torch.testing.assert_close(layer(x)[0] - x, expected, rtol=1e-4, atol=1e-5)
