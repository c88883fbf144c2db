"""A history that is read as it grows scores as it does whole."""

import pytest
import torch

from recurra.recsys.models import SasRec, SasRecConfig

STREAMING = [
    {"encoder": "prefix-attention"},
    {"encoder": "mamba2"},
    {"encoder": "mamba2", "layer": "ligr"},
    {"encoder": "prefix-attention", "layer": "post-norm", "ngrams": (1, 2)},
]
ROWS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 2, 7, 1, 0, 0], [5, 0, 0, 0, 0, 0, 0, 0]])
LENGTHS = torch.tensor([8, 6, 1])


@pytest.fixture(params=STREAMING, ids=str)
def model(request):
    torch.manual_seed(0)
    sizes = {"n_items": 9, "max_len": 8, "d_model": 8, "positions": "none"}
    return SasRec(SasRecConfig(**sizes, **request.param)).eval()


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_state_after_n_events_scores_as_their_whole_history(model):
    state = None
    for n in range(1, 9):
        events = ROWS[:, n - 1 : n]
        _, state = model.read(events, state)
        at = LENGTHS.clamp(max=n) - 1
        assert_same(model.score_next(state), model.score(ROWS[:, :n], at))


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(8,), (3, 5), (1, 6, 1)], ids=str)
def test_chunks_of_any_lengths_give_the_same_outputs_and_state(model, cuts):
    state, outputs = None, []
    for chunk in ROWS.split(cuts, dim=1):
        y, state = model.read(chunk, state)
        outputs.append(y)
    inside = ROWS > 0
    assert_same(torch.cat(outputs, dim=1)[inside], model.encode(ROWS)[inside])
    whole = model.read(ROWS)[1]
    assert state.keys() == whole.keys()
    for name, value in state.items():
        assert_same(value, whole[name])


@torch.no_grad()
def test_a_row_without_events_keeps_its_state_and_the_first_one_is_zeros(model):
    _, before = model.read(ROWS[:, :1])
    _, after = model.read(torch.tensor([[0], [4], [0]]), before)
    for name, value in after.items():
        torch.testing.assert_close(value[[0, 2]], before[name][[0, 2]], rtol=0, atol=0)
    assert not torch.equal(after["last"][1], before["last"][1])
    _, first = model.read(torch.zeros(2, 1, dtype=torch.int64))
    assert not any(value.any() for value in first.values())
    assert_same(model.score_next(model.read(ROWS[:, :2], first_of(first, 3))[1]), pair(model))


def first_of(state, rows):
    """The same zeros for more rows."""
    return {k: torch.zeros(rows, *v.shape[1:], dtype=v.dtype) for k, v in state.items()}


def pair(model):
    return model.score(ROWS[:, :2], torch.tensor([1, 1, 0]))


@torch.no_grad()
def test_a_state_does_not_grow(model):
    _, short = model.read(ROWS[:1, :1])
    state = short
    for _ in range(20):
        _, state = model.read(ROWS[:1], state)
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in short.items()}
    assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize("variant", [{}, {"encoder": "mamba2"}, {"positions": "none"}], ids=str)
def test_other_networks_do_not_stream_and_say_so(variant):
    model = SasRec(SasRecConfig(n_items=9, max_len=8, d_model=8, **variant))
    assert not model.streams
    with pytest.raises(ValueError, match="encoder prefix-attention or mamba2 and positions none"):
        model.read(ROWS)
