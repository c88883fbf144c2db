import pytest
import torch
from tests.core.layers.mossformer2_vectors import load

from recurra.core.layers import Fsmn


@pytest.fixture(params=[0, 3], ids=["causal", "look_ahead_3"])
def layer(request):
    torch.manual_seed(0)
    return Fsmn(6, 9, order=5, look_ahead=request.param).double()


def inputs(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def stream(layer, x, chunk):
    state, pieces = layer.initial_state(x), []
    for piece in x.split(chunk, dim=1):
        y, state = layer(piece, state)
        pieces.append(y)
    return torch.cat([*pieces, layer.flush(state)], dim=1)[:, layer.look_ahead :], state


def test_axes_between_time_and_channel_are_rows_that_stream(layer):
    x = inputs(2, 30, 3, 2, 6)
    whole, whole_state = layer(x)
    streamed, state = stream(layer, x, 4)
    torch.testing.assert_close(streamed, whole, rtol=0, atol=1e-12)
    for name, value in whole_state.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=1e-12)
    torch.testing.assert_close(whole[:, :, 2, 1], layer(x[:, :, 2, 1])[0], rtol=0, atol=1e-12)


def test_taps_on_both_sides_are_mossformer2s_official_numbers():
    layer = Fsmn(8, order=20, look_ahead=19)
    x, expected = load("se_UniDeepFsmn_bi", layer, {"conv1.weight": "taps"})
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-4, atol=1e-5)
