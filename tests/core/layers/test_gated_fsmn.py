"""`GatedFsmn` gives MossFormer2's official numbers, and streams with the plain memory."""

import pytest
import torch
from tests.core.layers.mossformer2_vectors import FILTERS, load

from recurra.core.layers import GatedFsmn

NAMES = {
    "gated_fsmn.fsmn.conv1.weight": "memory.taps",
    "gated_fsmn.fsmn.": "memory.",
    **FILTERS,
    "gated_fsmn.": "",
    "conv1.0.": "reduce.",
    "conv1.1.": "prelu.",
    "norm1.": "norm_in.",
    "norm2.": "norm_out.",
    "conv2.": "expand.",
}


@pytest.mark.parametrize(
    ("memory", "file"),
    [("plain", "se_Gated_FSMN_Block"), ("dense", "ss_Gated_FSMN_Block_Dilated")],
)
def test_whole_rows_are_the_official_numbers(memory, file):
    layer = GatedFsmn(16, 8, memory=memory)
    x, expected = load(file, layer, NAMES)
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-4, atol=1e-5)


def test_it_looks_27_steps_ahead_as_mossformer2_has_it():
    assert GatedFsmn(512, 256).look_ahead == 17 // 2 + 19


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match='memory must be "plain" or "dense", not "deep"'):
        GatedFsmn(2, 2, memory="deep")
    with pytest.raises(ValueError, match="does not stream"):
        GatedFsmn(2, 2, memory="dense")(torch.zeros(1, 3, 2), {"window": torch.zeros(1)})
    with pytest.raises(ValueError, match="odd in number, not 4"):
        GatedFsmn(2, 2, taps=4)
