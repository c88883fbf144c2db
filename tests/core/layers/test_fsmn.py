import pytest
import torch

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


@pytest.mark.parametrize("chunk", [1, 4, 30])
@pytest.mark.parametrize("shape", [(2, 30, 6), (2, 30, 3, 2, 6)])
def test_steps_and_chunks_equal_whole(layer, chunk, shape):
    x = inputs(*shape)
    whole, whole_state = layer(x)
    streamed, state = stream(layer, x, chunk)
    torch.testing.assert_close(streamed, whole, rtol=0, atol=1e-12)
    for name, value in whole_state.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=1e-12)


def test_a_padded_row_equals_the_row_alone(layer):
    x = inputs(4, 12, 6)
    lengths = torch.tensor([12, 7, 1, 0])
    y, state = layer(x, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, alone_state = layer(x[row : row + 1, :length])
        torch.testing.assert_close(y[row, :length], alone[0], rtol=0, atol=1e-12)
        assert not y[row, length:].any()
        for name, value in alone_state.items():
            torch.testing.assert_close(state[name][row], value[0], rtol=0, atol=1e-12)


def test_future_steps_beyond_the_look_ahead_do_not_change_past_output(layer):
    x = inputs(1, 20, 6)
    changed = x.clone()
    changed[:, 10:] += 1
    difference = (layer(x)[0] - layer(changed)[0]).abs().amax(dim=(0, 2))
    first = 10 - layer.look_ahead
    assert difference[:first].max() == 0
    assert difference[first] > 0


def test_the_state_is_not_changed_in_place(layer):
    x = inputs(2, 8, 6)
    _, state = layer(x)
    kept = {name: value.clone() for name, value in state.items()}
    layer(x, state)
    assert all(torch.equal(state[name], kept[name]) for name in kept)
