"""`ConvModule` gives MossFormer's official numbers under both norms."""

import pytest
import torch
from tests.core.layers.mossformer2_vectors import load

from recurra.core.layers.conv_module import ConvModule


@pytest.mark.parametrize("norm", ["scale", "layer"])
def test_whole_rows_are_the_official_numbers(norm):
    module = ConvModule(8, 12, norm=norm)
    x, expected = load(f"ss_FFConvM_{norm}norm", module, {})
    torch.testing.assert_close(module(x)[0], expected, rtol=1e-4, atol=1e-5)
