"""Run by `test_triton.py` in a process of its own, where Triton interprets all kernels."""

from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch
from tests.core.kernels.interpreter import guards
from torch import Tensor
from triton.runtime.errors import InterpreterError

from recurra.core.kernels import (
    delta_rule,
    fir,
    flashrnn,
    gated_linear_attention,
    linear_scan,
    mixed_chunk_attention,
    prefix_attention,
    ssd,
    triton_support,
)
from recurra.core.kernels.flashrnn import CELLS
from recurra.core.kernels.flashrnn.on_chip import fits

Tensors = dict[str, Tensor]


@pytest.fixture(autouse=True, scope="module")
def guarded() -> Iterator[None]:
    with guards():
        yield


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def results(run, arguments: Tensors, **options) -> list[Tensor]:
    """Outputs and gradients of a random linear loss of everything that is returned."""
    leaves = {k: x.detach().clone().requires_grad_() for k, x in arguments.items()}
    outputs = run(**leaves, **options)
    loss = sum((y * random(*y.shape, seed=9)).sum() for y in outputs)
    return [*outputs, *torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)]


def assert_near(found: list[Tensor], expected: list[Tensor], bound: float = 3e-6) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        largest = b.detach().abs().max().item() if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=bound * max(1.0, largest))


def assert_equals_reference(run, arguments: Tensors, **options) -> None:
    expected = results(run, arguments, **options, backend="reference")
    assert_near(results(run, arguments, **options, backend="triton"), expected)


# The guards


def test_an_access_beside_a_tensor_is_seen() -> None:
    kernel = import_module("recurra.core.kernels.linear_scan.triton")._run
    x, start = torch.ones(1, 3, 2), torch.zeros(1, 1, 2)
    numbers = (4, 1, 4, 2, 6, 2, 1, 2)  # four steps, where there are three
    options = {"REVERSE": False, "BACKWARD": False, "GRAD_A": False, "BLOCK": 32, "num_warps": 1}
    with pytest.raises(InterpreterError, match="outside the kernel's tensors"):
        triton_support.launch(kernel, 1, x, x, start, x, start, x, x, x, *numbers, **options)


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


# ssd


def ssd_problem(rows: int, steps: int, heads: int, groups: int, p: int, n: int) -> Tensors:
    return {
        "x": random(rows, steps, heads, p),
        "log_a": -random(rows, steps, heads, seed=1).abs(),
        "b": random(rows, steps, groups, n, seed=2),
        "c": random(rows, steps, groups, n, seed=3),
        "state": random(rows, heads, p, n, seed=4),
    }


def test_two_chunks_of_heads_in_groups_and_their_gradients_are_the_reference() -> None:
    assert_equals_reference(ssd, ssd_problem(1, 66, 2, 1, 3, 4))


def test_heads_wider_than_a_block(monkeypatch) -> None:
    monkeypatch.setattr(import_module("recurra.core.kernels.ssd.triton"), "_BLOCK", 16)
    assert_equals_reference(ssd, ssd_problem(1, 3, 1, 1, 17, 18))


def test_state_space_duality_of_rows_of_unlike_lengths() -> None:
    assert_equals_reference(ssd, ssd_problem(2, 5, 2, 2, 3, 2), lengths=torch.tensor([4, 0]))


def test_a_decay_of_zero_and_a_head_of_nothing() -> None:
    problem = ssd_problem(1, 5, 1, 1, 2, 2)
    problem["log_a"][:, 2] = -torch.inf
    found = results(ssd, problem, backend="triton")
    expected = results(ssd, problem, backend="fast")
    assert_near(found, expected)
    assert_equals_reference(ssd, ssd_problem(1, 3, 1, 1, 0, 2))


# gated_linear_attention


def gated_problem(rows: int, steps: int, heads: int, p: int, n: int) -> Tensors:
    return {
        "q": random(rows, steps, heads, n),
        "k": random(rows, steps, heads, n, seed=1),
        "v": random(rows, steps, heads, p, seed=2),
        "log_a": -random(rows, steps, heads, n, seed=3).abs(),
        "state": random(rows, heads, p, n, seed=4),
    }


@pytest.mark.parametrize(
    ("rows", "steps", "heads", "p", "n"),
    [(1, 66, 2, 3, 2), (2, 5, 2, 2, 33), (1, 7, 1, 34, 1)],  # chunks and blocks of 32
)
def test_gated_attention_and_its_gradients_are_the_reference(rows, steps, heads, p, n) -> None:
    assert_equals_reference(gated_linear_attention, gated_problem(rows, steps, heads, p, n))


def test_gated_attention_of_rows_of_unlike_lengths() -> None:
    problem = gated_problem(3, 34, 1, 2, 2)
    problem["v"][1] = torch.nan
    assert_equals_reference(gated_linear_attention, problem, lengths=torch.tensor([33, 0, 3]))


def test_gated_attention_of_nothing_and_with_decays_of_zero() -> None:
    for shape in [(0, 3, 1, 2, 2), (1, 0, 1, 2, 2), (1, 2, 1, 0, 2), (1, 2, 1, 2, 0)]:
        assert_equals_reference(gated_linear_attention, gated_problem(*shape))
    problem = gated_problem(1, 40, 1, 2, 3)
    problem["log_a"][:, ::5, :, 1:] = -torch.inf
    problem["log_a"][:, 3, :, 0] = -1e4
    found = results(gated_linear_attention, problem, backend="triton")
    assert_near(found, results(gated_linear_attention, problem, backend="fast"))


# mixed_chunk_attention


def chunk_problem(rows: int, steps: int, n: int, m: int, p: int) -> Tensors:
    """Scores of about 4 times a group of 4, so that their squares are not small."""
    return {
        "q": 4 * random(rows, steps, n),
        "k": random(rows, steps, n, seed=1),
        "q_linear": random(rows, steps, m, seed=2),
        "k_linear": random(rows, steps, m, seed=3),
        "v": random(rows, steps, p, seed=4),
    }


def run_chunks(*, state=None, **arguments) -> tuple[Tensor, ...]:
    y, last = mixed_chunk_attention(**arguments, state=state)
    return (y, *(last[name] for name in last if name != "position"))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("rows", "steps", "widths", "group"),
    [(2, 10, (3, 2, 4), 4), (1, 40, (2, 1, 130), 40), (1, 19, (33, 34, 1), 17)],  # tiles of 32
)
def test_mixed_attention_and_its_gradients_are_the_reference(
    rows, steps, widths, group, causal
) -> None:
    problem = chunk_problem(rows, steps, *widths)
    assert_equals_reference(run_chunks, problem, group=group, causal=causal)


def test_mixed_attention_goes_on_in_rows_of_unlike_lengths() -> None:
    _, state = mixed_chunk_attention(**chunk_problem(3, 6, 3, 2, 2), group=4, causal=True)
    options = {"group": 4, "causal": True, "state": state, "lengths": torch.tensor([5, 0, 7])}
    problem = chunk_problem(3, 7, 3, 2, 2)
    problem["v"][1] = torch.nan
    assert_equals_reference(run_chunks, problem, **options)


def test_mixed_attention_of_nothing_and_with_dropout() -> None:
    for shape in [
        (0, 3, 1, 2, 2),
        (1, 0, 1, 2, 2),
        (1, 2, 0, 2, 2),
        (1, 2, 1, 0, 2),
        (1, 2, 1, 1, 0),
    ]:
        assert_equals_reference(run_chunks, chunk_problem(*shape), group=2)
    with pytest.raises(ValueError, match=r'no dropout, not 0.1: take backend="auto"'):
        mixed_chunk_attention(**chunk_problem(1, 2, 1, 1, 1), dropout=0.1, backend="triton")


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


# delta_rule


def delta_problem(rows: int, steps: int, heads: int, p: int, n: int) -> Tensors:
    return {
        "q": random(rows, steps, heads, n),
        "k": random(rows, steps, heads, n, seed=1) / n**0.5,
        "v": random(rows, steps, heads, p, seed=2),
        "beta": random(rows, steps, heads, seed=3).sigmoid(),
        "log_a": -0.1 * random(rows, steps, heads, seed=4).abs(),
        "state": random(rows, heads, p, n, seed=5),
    }


@pytest.mark.parametrize(
    ("rows", "steps", "heads", "p", "n"),
    # Chunks of 64 steps; blocks of 32 of P; for N above 64 tiles of 32, and blocks of 16.
    [(2, 3, 2, 2, 3), (1, 130, 1, 1, 2), (1, 2, 1, 33, 17), (1, 66, 1, 17, 70)],
)
def test_the_delta_rule_and_its_gradients_are_the_reference(rows, steps, heads, p, n) -> None:
    problem = delta_problem(rows, steps, heads, p, n)
    found = results(delta_rule, problem, backend="triton")
    # The gradient to beta is a small sum of large parts: the loop in float32 is off by 3e-6 too.
    assert_near(found, results(delta_rule, problem, backend="reference"), 1e-5)


def test_the_delta_rule_of_rows_of_unlike_lengths() -> None:
    problem = delta_problem(3, 66, 1, 2, 2)
    problem["v"][1] = torch.nan
    assert_equals_reference(delta_rule, problem, lengths=torch.tensor([65, 0, 3]))


def test_the_delta_rule_of_nothing_and_of_keys_too_wide_for_the_chip() -> None:
    for shape in [(0, 3, 1, 2, 2), (1, 0, 1, 2, 2), (1, 2, 1, 0, 2), (1, 2, 1, 2, 0)]:
        assert_equals_reference(delta_rule, delta_problem(*shape))
    assert_equals_reference(delta_rule, delta_problem(1, 2, 1, 1, 129))


# Second derivatives, repeats


@pytest.mark.parametrize(
    ("run", "problem", "options"),
    [
        (linear_scan, scan_problem((1, 3, 2), (1, 3, 2)), {}),
        (flashrnn, cell_problem("elman", rows=1, steps=2, width=2), {"cell": "elman"}),
        (ssd, ssd_problem(1, 3, 1, 1, 2, 2), {}),
        (gated_linear_attention, gated_problem(1, 3, 1, 2, 2), {}),
        (run_chunks, chunk_problem(1, 3, 2, 2, 2), {"group": 2, "causal": True}),
        (fir, fir_problem(1, 3, (2, 1, 2)), {}),
        (prefix_attention, attention_problem(2, 3, 1, 2), {}),
        (delta_rule, delta_problem(1, 3, 1, 2, 2), {}),
    ],
)
def test_second_derivatives_are_those_of_the_reference(run, problem, options) -> None:
    found = []
    for backend in ("reference", "triton"):
        leaves = [x.detach().clone().requires_grad_() for x in problem.values()]
        y, *last = run(**dict(zip(problem, leaves, strict=True)), **options, backend=backend)
        loss = y.square().sum() + sum(x.sum() for x in last)
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        loss = sum(x.square().sum() for x in first)
        found.append(list(torch.autograd.grad(loss, leaves, materialize_grads=True)))
    assert_near(*found)


@pytest.mark.parametrize(
    ("run", "problem", "options"),
    [
        (flashrnn, cell_problem("gru", rows=1, steps=2, width=2), {"cell": "gru"}),
        (fir, fir_problem(2, 20, (2, 2, 1)), {}),
        (prefix_attention, attention_problem(1, 33, 1, 2), {}),
        (delta_rule, delta_problem(1, 66, 1, 2, 2), {}),
        (gated_linear_attention, gated_problem(1, 34, 1, 2, 2), {}),
        (run_chunks, chunk_problem(2, 5, 2, 2, 2), {"group": 4}),
    ],
)
def test_repeats_are_equal_to_the_bit(run, problem, options) -> None:
    first, second = (results(run, problem, **options, backend="triton") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# When Triton runs


def test_triton_runs_where_it_can_and_says_where_it_cannot(monkeypatch) -> None:
    wants = triton_support.wants_triton
    on_gpu, on_cpu = SimpleNamespace(is_cuda=True, device="cuda"), torch.ones(1)
    assert wants("auto", on_gpu, torch.float32)
    assert not wants("auto", on_gpu, torch.float64)
    assert not wants("auto", on_cpu, torch.float32)
    assert not wants("fast", on_gpu, torch.float32)
    with pytest.raises(ValueError, match="computes in float32"):
        wants("triton", on_gpu, torch.float64)
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ValueError, match='takes tensors on a GPU, not on cpu: take backend="auto"'):
        linear_scan(torch.ones(()), torch.ones(1, 2), backend="triton")
    monkeypatch.setattr(triton_support, "_is_installed", lambda: False)
    assert not wants("auto", on_gpu, torch.float32)
    with pytest.raises(ValueError, match="needs the package triton"):
        wants("triton", on_gpu, torch.float32)


def test_heads_too_wide_for_a_chip_take_the_portable_form(monkeypatch) -> None:
    front = import_module("recurra.core.kernels.flashrnn")
    monkeypatch.setattr(front, "chip", lambda x: "sm_90")
    assert front._fits("auto", torch.ones(64), torch.float32)
    assert not front._fits("auto", torch.ones(65), torch.float32)
    with pytest.raises(ValueError, match=r"heads of 65 on sm_90 \(the largest: 64\)"):
        front._fits("triton", torch.ones(65), torch.float32)
    assert not fits("sm_70", torch.float32, 1)
    assert not fits("sm_90", torch.float64, 1)
