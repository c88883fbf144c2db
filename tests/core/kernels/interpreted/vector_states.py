"""The scan, cells, filters and averages, whose states are vectors, in Triton's interpreter."""

from importlib import import_module

import pytest
import torch
from tests.core.kernels.interpreted.against_reference import (
    Tensors,
    assert_equals_reference,
    assert_near,
    assert_repeats_are_equal_to_the_bit,
    assert_second_derivatives_are_those_of_the_reference,
    random,
    results,
)

from recurra.core.kernels import fir, flashrnn, linear_scan, prefix_attention, selective_scan
from recurra.core.kernels.flashrnn import CELLS

# linear_scan


def scan_problem(a: tuple[int, ...], b: tuple[int, ...]) -> Tensors:
    return {"a": random(*a).sigmoid(), "b": random(*b, seed=1), "h0": random(b[0], *b[2:], seed=2)}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3, 40), (2, 3, 40)),  # more elements than a block of 32
        ((2, 5, 3, 1), (2, 5, 3, 2)),  # a decay a head
        ((2,), (1, 5, 3, 2)),  # a decay a channel, for all steps
        ((3, 1, 2), (1, 3, 3, 2, 2)),  # shared by an axis between two that it has
    ],
)
def test_the_scan_and_its_gradients_are_the_reference(a, b, reverse) -> None:
    assert_equals_reference(linear_scan, scan_problem(a, b), reverse=reverse)


@pytest.mark.parametrize(("steps", "reverse"), [(7, False), (13, True)])
def test_chunks_of_steps_join_to_the_whole(steps, reverse, monkeypatch) -> None:
    triton = import_module("recurra.core.kernels.linear_scan.triton")
    monkeypatch.setattr(triton, "_CHUNK", 5)
    problem, options = scan_problem((2, steps, 3), (2, steps, 3)), {"reverse": reverse}
    assert_equals_reference(linear_scan, problem, **options, lengths=torch.tensor([steps, 0]))


def test_the_scan_of_nothing_and_of_half_precision(monkeypatch) -> None:
    for shape in [(0, 3, 2), (2, 0, 2), (2, 3, 0)]:
        assert_equals_reference(linear_scan, scan_problem(shape, shape))
    problem = scan_problem((1, 4, 2), (1, 4, 2))
    problem["b"] = problem["b"].bfloat16()
    h, last = linear_scan(**problem, backend="triton")
    assert (h.dtype, last.dtype) == (torch.bfloat16, torch.float32)
    assert_near([h, last], list(linear_scan(**problem, backend="reference")), 0)


# selective_scan


def selective_problem(rows: int, steps: int, channels: int, width: int) -> Tensors:
    return {
        "u": random(rows, steps, channels),
        "delta": random(rows, steps, channels, seed=1).sigmoid(),
        "a": -random(channels, width, seed=2).abs(),
        "b": random(rows, steps, width, seed=3),
        "c": random(rows, steps, width, seed=4),
        "d": random(channels, seed=5),
        "state": random(rows, channels, width, seed=6),
    }


@pytest.mark.parametrize(
    ("rows", "steps", "channels", "width"),
    [(2, 5, 2, 3), (1, 4, 1, 18), (1, 1, 17, 16), (1, 2, 1, 1)],  # pieces of 4, blocks of 16
)
def test_the_selective_scan_and_its_gradients_are_the_reference(
    rows, steps, channels, width
) -> None:
    assert_equals_reference(selective_scan, selective_problem(rows, steps, channels, width))


def test_chunks_of_steps_join_to_the_whole_selective_scan(monkeypatch) -> None:
    triton = import_module("recurra.core.kernels.selective_scan.triton")
    monkeypatch.setattr(triton, "_CHUNK", 4)
    problem = selective_problem(2, 10, 2, 17)
    for name in ("u", "delta", "b", "c"):
        problem[name][0, 9:] = torch.nan
        problem[name][1] = torch.nan
    assert_equals_reference(selective_scan, problem, lengths=torch.tensor([9, 0]))


def test_steps_so_large_that_the_state_is_forgotten_leave_finite_numbers() -> None:
    problem = selective_problem(1, 6, 2, 2)
    problem["delta"][:, ::4] = 1e5
    found = results(selective_scan, problem, backend="triton")
    assert all(x.isfinite().all() for x in found)
    assert_near(found, results(selective_scan, problem, backend="reference"))


def test_the_selective_scan_of_nothing_and_in_half_precision() -> None:
    for shape in [(0, 3, 2, 2), (2, 0, 2, 2), (1, 2, 0, 2), (1, 2, 2, 0)]:
        assert_equals_reference(selective_scan, selective_problem(*shape))
    problem = selective_problem(1, 3, 2, 2)
    problem = {k: x if k == "a" else x.half() for k, x in problem.items()}
    assert_equals_reference(selective_scan, problem)


# flashrnn


def cell_problem(cell: str, rows: int = 2, steps: int = 3, width: int = 5) -> Tensors:
    """Two heads; the first row of an sLSTM is fresh, an LSTM has peepholes."""
    kind = CELLS[cell]
    states = random(rows, len(kind.states), 2, width, seed=3)
    if cell == "slstm":
        states[:, 2] = states[:, 2].abs() + 1
        states[0] = 0
    arguments = {
        "wx": random(rows, steps, kind.n_input, 2, width),
        "r": 0.5 * random(kind.n_recurrent, 2, width, width, seed=1),
        "b": random(kind.n_gates, 2, width, seed=2),
        "states": states,
    }
    return arguments | ({"peephole": random(3, 2, width, seed=4)} if kind.takes_peephole else {})


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_and_its_gradients_are_the_reference(cell) -> None:
    assert_equals_reference(flashrnn, cell_problem(cell), cell=cell)


@pytest.mark.parametrize("cell", CELLS)
def test_rows_of_unlike_lengths_in_reverse_with_all_their_states(cell) -> None:
    options = {"reverse": True, "all_states": True, "lengths": torch.tensor([2, 0, 3])}
    assert_equals_reference(flashrnn, cell_problem(cell, rows=3), cell=cell, **options)


def test_more_rows_than_a_program_takes_and_half_precision() -> None:
    problem = cell_problem("gru", rows=17, steps=1, width=1)
    problem["wx"] = problem["wx"].bfloat16()
    assert_equals_reference(flashrnn, problem, cell="gru")


@pytest.mark.parametrize("size", [-100.0, 100.0])
@pytest.mark.parametrize("cell", ["lstm", "slstm"])
def test_large_gates_leave_finite_numbers(cell, size) -> None:
    problem = cell_problem(cell, rows=1, steps=1, width=1)
    problem["wx"] = torch.full_like(problem["wx"], size)
    found = results(flashrnn, problem, cell=cell, backend="triton")
    assert all(x.isfinite().all() for x in found)


# fir


def fir_problem(rows: int, steps: int, taps: tuple[int, int, int]) -> Tensors:
    return {"x": random(rows, steps, taps[1] * taps[2]), "taps": random(*taps, seed=1)}


@pytest.mark.parametrize(
    ("rows", "steps", "taps", "options"),
    [
        (3, 13, (3, 2, 1), {"dilation": 2}),  # steps of a program from unlike rows
        (1, 4, (3, 33, 1), {"left": 1, "right": 1}),  # more channels than a block of 32
        (2, 7, (2, 3, 2), {}),
        (1, 2, (1, 1, 3), {}),
    ],
)
def test_the_filter_and_its_gradients_are_the_reference(rows, steps, taps, options) -> None:
    assert_equals_reference(fir, fir_problem(rows, steps, taps), **options)


def test_parts_of_the_steps_join_to_the_gradient_of_the_taps(monkeypatch) -> None:
    monkeypatch.setattr(import_module("recurra.core.kernels.fir.triton"), "_PROGRAMS", 2)
    problem = fir_problem(2, 50, (2, 1, 1)) | {"state": random(2, 1, 1, seed=2)}
    assert_equals_reference(fir, problem)


def test_the_filter_of_nothing_and_in_half_precision() -> None:
    for rows, steps, taps in [(0, 3, (2, 2, 1)), (2, 0, (2, 2, 1)), (2, 3, (2, 0, 1))]:
        assert_equals_reference(fir, fir_problem(rows, steps, taps))
    problem = {k: x.half() for k, x in fir_problem(1, 40, (20, 2, 1)).items()}
    found = results(fir, problem, backend="triton")
    single = {k: x.float() for k, x in problem.items()}
    expected = results(fir, single, backend="reference")
    # Sums are in float32: the error is that of one rounding to 11 bits, not of 20 or of 40.
    assert_near(found, [x.half() for x in expected], 2**-10)


# prefix_attention


def attention_problem(rows: int, steps: int, heads: int, width: int, large: float = 1) -> Tensors:
    """Scores of about `large` times 4; the first row starts from an empty prefix."""
    k = random(rows, steps, heads, 3, seed=1)
    state = random(rows, heads, width + 2, seed=3)
    state[..., -2] = state[..., -2].abs() + 0.5
    state[0] = 0
    return {
        "q": 4 * large * random(heads, 3),
        "k": k,
        "v": random(rows, steps, heads, width, seed=2),
        "state": state,
    }


@pytest.mark.parametrize(
    ("rows", "steps", "heads", "width"),
    [(2, 5, 2, 3), (1, 33, 1, 2), (1, 64, 1, 1), (2, 1, 1, 65)],  # 32 steps a tile, blocks of 64
)
def test_the_averages_and_their_gradients_are_the_reference(rows, steps, heads, width) -> None:
    problem = attention_problem(rows, steps, heads, width)
    assert_equals_reference(prefix_attention, problem)


@pytest.mark.parametrize(("steps", "width"), [(33, 2), (70, 65)])
def test_chunks_of_steps_join_to_the_whole_prefix(steps, width, monkeypatch) -> None:
    triton = import_module("recurra.core.kernels.prefix_attention.triton")
    monkeypatch.setattr(triton, "_CHUNK", 32)
    problem = attention_problem(2, steps, 1, width)
    mask = random(2, steps, seed=5) > 0
    mask[0, :32] = False  # the whole first chunk
    assert_equals_reference(prefix_attention, problem, mask=mask)


def test_empty_prefixes_and_rows_of_unlike_lengths() -> None:
    problem = attention_problem(3, 4, 2, 2)
    problem["v"][2, 1:] = torch.nan
    problem["k"][2, 1:] = torch.nan
    mask = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    lengths = torch.tensor([4, 0, 1])
    assert_equals_reference(prefix_attention, problem, mask=mask, lengths=lengths)


def test_scores_of_any_size_leave_finite_numbers() -> None:
    problem = attention_problem(2, 40, 1, 2, large=1e4)
    found = results(prefix_attention, problem, backend="triton")
    assert all(x.isfinite().all() for x in found)
    assert_near(found[:2], results(prefix_attention, problem, backend="reference")[:2])


def test_attention_to_nothing_and_in_half_precision() -> None:
    for shape in [(1, 0, 1, 2), (1, 3, 1, 0)]:
        assert_equals_reference(prefix_attention, attention_problem(*shape))
    problem = attention_problem(1, 3, 1, 2)
    problem["k"], problem["v"] = problem["k"].half(), problem["v"].half()
    assert_equals_reference(prefix_attention, problem)


# Second derivatives, repeats


@pytest.mark.parametrize(
    ("run", "problem", "options"),
    [
        (linear_scan, scan_problem((1, 3, 2), (1, 3, 2)), {}),
        (selective_scan, selective_problem(1, 3, 2, 2), {}),
        (flashrnn, cell_problem("elman", rows=1, steps=2, width=2), {"cell": "elman"}),
        (fir, fir_problem(1, 3, (2, 1, 2)), {}),
        (prefix_attention, attention_problem(2, 3, 1, 2), {}),
    ],
)
def test_second_derivatives_are_those_of_the_reference(run, problem, options) -> None:
    assert_second_derivatives_are_those_of_the_reference(run, problem, **options)


@pytest.mark.parametrize(
    ("run", "problem", "options"),
    [
        (selective_scan, selective_problem(2, 5, 17, 16), {}),
        (flashrnn, cell_problem("gru", rows=1, steps=2, width=2), {"cell": "gru"}),
        (fir, fir_problem(2, 20, (2, 2, 1)), {}),
        (prefix_attention, attention_problem(1, 33, 1, 2), {}),
    ],
)
def test_repeats_are_equal_to_the_bit(run, problem, options) -> None:
    assert_repeats_are_equal_to_the_bit(run, problem, **options)
