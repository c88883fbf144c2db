"""The kernels whose states are matrices, sums of keys times values, in Triton's interpreter."""

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
from torch import Tensor

from recurra.core.kernels import delta_rule, gated_linear_attention, mixed_chunk_attention, ssd

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
        (ssd, ssd_problem(1, 3, 1, 1, 2, 2), {}),
        (gated_linear_attention, gated_problem(1, 3, 1, 2, 2), {}),
        (run_chunks, chunk_problem(1, 3, 2, 2, 2), {"group": 2, "causal": True}),
        (delta_rule, delta_problem(1, 3, 1, 2, 2), {}),
    ],
)
def test_second_derivatives_are_those_of_the_reference(run, problem, options) -> None:
    assert_second_derivatives_are_those_of_the_reference(run, problem, **options)


@pytest.mark.parametrize(
    ("run", "problem", "options"),
    [
        (delta_rule, delta_problem(1, 66, 1, 2, 2), {}),
        (gated_linear_attention, gated_problem(1, 34, 1, 2, 2), {}),
        (run_chunks, chunk_problem(2, 5, 2, 2, 2), {"group": 4}),
    ],
)
def test_repeats_are_equal_to_the_bit(run, problem, options) -> None:
    assert_repeats_are_equal_to_the_bit(run, problem, **options)
