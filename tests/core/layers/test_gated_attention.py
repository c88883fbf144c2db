"""`GatedAttention` gives MossFormer2's official numbers, and causally streams (`test_laws`)."""

import pytest
import torch
from tests.core.layers.mossformer2_vectors import load

from recurra.core.layers import GatedAttention
from recurra.core.layers.conv_module import ConvModule

NAMES = {"qk_offset_scale.": ""}


def official(*, causal):
    return GatedAttention(16, d_key=24, group=16, rotary_dim=8, causal=causal)


def test_whole_rows_are_the_official_numbers():
    layer = official(causal=False)
    x, expected = load("ss_FLASH_n32_exact", layer, NAMES)
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-4, atol=1e-5)


def test_causal_attention_is_official_between_filters_that_look_ahead():
    layer = official(causal=True)
    for module in layer.modules():
        if isinstance(module, ConvModule):
            module.causal = False
    x, expected = load("ss_FLASH_n40_causal", layer, NAMES)
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-4, atol=1e-5)


def test_dropout_is_for_training_only():
    torch.manual_seed(0)
    layer = GatedAttention(6, d_key=4, group=4, dropout=0.5)
    x = torch.randn(2, 9, 6)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


def test_a_state_for_whole_rows_is_refused():
    x = torch.zeros(1, 3, 4)
    state = GatedAttention(4, causal=True).initial_state(x)
    with pytest.raises(ValueError, match="only a causal GatedAttention"):
        GatedAttention(4)(x, state)
