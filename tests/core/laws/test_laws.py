"""The laws that every kernel and layer keeps, each run on the cases that call for it.

A law that a case's declarations do not call for is not collected; the last line of the test run
counts those. What only one kernel or layer promises is tested in its own file.
"""

from collections.abc import Callable

import pytest
import torch
from tests.core.laws.case import Case, Size, Tensors
from tests.core.laws.checks import (
    assert_near,
    assert_results_near,
    assert_states_near,
    floating,
    gradients,
    law,
    leaves_of,
)
from torch import Tensor

BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-12}
EDGES = [0, 1, 2, 63, 64, 65, 127]  # steps, about a block of 64
LONG = [257, pytest.param(10_000, marks=pytest.mark.slow)]


@law()
def test_what_is_causal_or_looks_ahead_by_a_fixed_number_of_steps_streams(case: Case) -> None:
    assert case.streams or not (case.causal or case.look_ahead)
    assert case.causal == (case.streams and case.look_ahead == 0)


@pytest.mark.parametrize("steps", EDGES)
@law("reference")
def test_the_fast_form_is_the_reference_with_its_state_and_gradients(
    case: Case, steps: int
) -> None:
    assert_fast_is_reference(case, Size(steps=steps))


@pytest.mark.parametrize("width", [1, 5, 24, 72, 100])
@law("reference")
def test_any_head_size_is_the_reference_with_its_state_and_gradients(
    case: Case, width: int
) -> None:
    assert_fast_is_reference(case, Size(steps=5, width=width))


def assert_fast_is_reference(case: Case, size: Size) -> None:
    """Hold the outputs, the last state and the gradients to inputs and first state."""
    results = []
    for backend in ("reference", "auto"):
        inputs, state = leaves_of(case.inputs(size)), leaves_of(case.state(size))
        y, last = case.run(inputs, state, None, backend)
        leaves = floating(inputs) | {f"state {k}": v for k, v in floating(state).items()}
        results.append((y, last, gradients(y, last, leaves)))
    assert_results_near(*results)


def two_calls(case: Case) -> tuple[Callable[..., tuple[Tensor, Tensor]], list[Tensor]]:
    """A function of all inputs and states, and their values, to check the gradients of.

    Its second call shows the gradient that passes through the returned state.
    """
    size = Size(rows=1, steps=3, width=2)
    inputs, state = leaves_of(case.inputs(size)), leaves_of(case.state(size))
    after = case.inputs(size, seed=1)
    names = [*floating(inputs)], [*floating(state)]

    def call_twice(*values: Tensor) -> tuple[Tensor, Tensor]:
        given = inputs | dict(zip(names[0], values, strict=False))
        before = state | dict(zip(names[1], values[len(names[0]) :], strict=True))
        y, middle = case.run(given, before, None, "auto")
        weights = {k: v for k, v in given.items() if k not in case.along_time}
        return y, case.run(after | weights, middle, None, "auto")[0]

    return call_twice, [*floating(inputs).values(), *floating(state).values()]


@law()
def test_gradients_and_gradients_of_gradients_are_right(case: Case) -> None:
    """Each element of a kernel's inputs on its own, a layer's many weights in random directions."""
    call_twice, values = two_calls(case)
    assert torch.autograd.gradcheck(call_twice, values, fast_mode=not case.kernel)
    assert torch.autograd.gradgradcheck(call_twice, values, fast_mode=True)


@pytest.mark.slow
@law("layer")
def test_the_gradient_to_each_element_of_a_layer_is_right(case: Case) -> None:
    assert torch.autograd.gradcheck(*two_calls(case))


@law()
def test_every_input_and_the_initial_state_have_a_gradient(case: Case) -> None:
    size = Size()
    inputs, state = leaves_of(case.inputs(size)), leaves_of(case.state(size))
    y, _ = case.run(inputs, state, None, "auto")
    leaves = floating(inputs) | {f"state {k}": v for k, v in floating(state).items()}
    found = gradients(y, {}, leaves)
    assert [name for name, value in found.items() if not value.any()] == []


@law()
def test_future_steps_change_past_outputs_as_declared(case: Case) -> None:
    size, at = Size(steps=20), 12
    inputs = case.inputs(size)
    changed = {
        k: torch.cat([v[:, :at], case.inputs(size, seed=1)[k][:, at:]], 1)
        if k in case.along_time
        else v
        for k, v in inputs.items()
    }
    outputs = [case.run(given, None, None, "auto")[0] for given in (inputs, changed)]
    # Not `!=`: a Fourier transform rounds each step by all of them.
    differ = (outputs[0] - outputs[1]).abs() > 1e-12
    first = int(differ.flatten(2).any(2).any(0).nonzero()[0])
    assert first == (at - case.look_ahead if case.streams else 0)


def chunk_sizes(steps: int) -> list[int]:
    """Draw sizes that add up; an empty chunk is among them."""
    generator = torch.Generator().manual_seed(2)
    sizes = [0]
    while sum(sizes) < steps:
        drawn = int(torch.randint(1, max(2, steps // 4), (), generator=generator))
        sizes.append(min(drawn, steps - sum(sizes)))
    return sizes


def stream(case: Case, inputs: Tensors, sizes: list[int]) -> tuple[Tensor, Tensors]:
    """Run in chunks and give back what a look-ahead holds: y aligned with the inputs."""
    module, state, pieces, start = case.module(inputs), case.begin(inputs), [], 0
    moving = {name: inputs[name] for name in case.along_time}
    for size in sizes:
        y, state = module(case.window(moving, slice(start, start + size)), state)
        pieces.append(y)
        start += size
    if case.look_ahead:
        pieces.append(case.flush(inputs, state))
    return torch.cat(pieces, dim=1)[:, case.look_ahead :], state


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("steps", LONG)
@law("streaming")
def test_chunks_and_steps_are_the_whole_with_its_state(
    case: Case, steps: int, dtype: torch.dtype
) -> None:
    inputs = case.inputs(Size(steps=steps), dtype=dtype)
    with torch.no_grad():
        whole, whole_state = case.run(inputs, None, None, "auto")
        for sizes in (chunk_sizes(steps), [1] * steps):
            y, state = stream(case, inputs, sizes)
            assert_near(y, whole, BOUNDS[dtype])
            assert_states_near(state, whole_state, BOUNDS[dtype])


@law("state size")
def test_a_row_keeps_as_many_numbers_as_declared(case: Case) -> None:
    for steps in (1, 30):
        size = Size(steps=steps)
        _, state = case.run(case.inputs(size), None, None, "auto")
        assert sum(x[0].numel() for x in state.values()) == case.state_size(size)


@law()
def test_a_batched_row_is_the_row_alone(case: Case) -> None:
    size = Size(rows=3, steps=9)
    inputs, state = case.inputs(size), case.state(size)
    y, last = case.run(inputs, state, None, "auto")
    for row in range(size.rows):
        rows = slice(row, row + 1)
        alone, alone_last = case.run(
            case.window(inputs, slice(None), rows),
            {k: v[rows] for k, v in state.items()},
            None,
            "auto",
        )
        assert_near(y[rows], alone)
        assert_states_near({k: v[rows] for k, v in last.items()}, alone_last)


@pytest.mark.parametrize("given_state", [False, True], ids=["new", "going on"])
@law()
def test_steps_beyond_a_rows_length_have_no_effect(case: Case, given_state: bool) -> None:
    lengths = torch.tensor([9, 4, 1, 0])
    size = Size(rows=4, steps=9)
    inputs = case.inputs(size)
    padded = torch.arange(size.steps) >= lengths[:, None]
    for name in case.along_time:
        if inputs[name].is_floating_point():
            inputs[name][padded] = torch.nan
    inputs, state = leaves_of(inputs), leaves_of(case.state(size)) if given_state else {}
    leaves = floating(inputs) | {f"state {k}": v for k, v in floating(state).items()}
    y, last = case.run(inputs, state or None, lengths, "auto")
    assert not y[padded].any()
    assert not any(value.any() for value in gradients(y[padded], {}, leaves).values())
    for row, length in enumerate(lengths.tolist()):
        rows = slice(row, row + 1)
        before = {k: v[rows] for k, v in state.items()} or None
        window = case.window(inputs, slice(0, length), rows)
        alone, alone_last = case.run(window, before, None, "auto")
        assert_near(y[rows, :length], alone)
        row_last = {k: v[rows] for k, v in last.items()}
        assert_states_near(row_last, alone_last)
        # The row alone never saw the padding: its gradients there are zero, and so are ours.
        found = gradients(y[rows, :length], row_last, leaves)
        assert_states_near(found, gradients(alone, alone_last, leaves))


@law("masked")
def test_rows_and_beginnings_that_are_all_masked_give_zeros_and_finite_gradients(
    case: Case,
) -> None:
    size = Size(rows=3, steps=8)
    inputs = leaves_of(case.inputs(size))
    mask = inputs[case.mask] = torch.ones_like(inputs[case.mask])
    mask[0], mask[1, :5] = False, False
    y, last = case.run(inputs, None, None, "auto")
    assert not y[0].any()
    assert not y[1, :5].any()
    assert y[1, 5:].all()
    assert y[2].all()
    found = gradients(y, {}, floating(inputs))
    assert all(value.isfinite().all() for value in [*found.values(), *last.values()])
    unmasked, _ = case.run(case.window(inputs, slice(5, 8), slice(1, 2)), None, None, "auto")
    assert_near(y[1:2, 5:], unmasked)


@law("linearity")
def test_the_sum_of_two_inputs_gives_the_sum_of_their_outputs(case: Case) -> None:
    first, second = case.inputs(Size()), case.inputs(Size(), seed=1)
    total = first | {k: first[k] + 2 * second[k] for k in case.linear_in}
    second = first | {k: second[k] for k in case.linear_in}
    y, _ = case.run(total, None, None, "auto")
    parts = [case.run(given, None, None, "auto")[0] for given in (first, second)]
    assert_near(y, parts[0] + 2 * parts[1])


@law()
def test_no_steps_change_nothing_and_no_rows_are_no_error(case: Case) -> None:
    size = Size(steps=0)
    state = case.state(size)
    y, last = case.run(case.inputs(size), state, None, "auto")
    assert y.shape[:2] == (2, 0)
    assert_states_near(last, state, 0.0)
    for none, axis in ((Size(rows=0), 0), (Size(steps=0), 1)):
        inputs = leaves_of(case.inputs(none))
        y, _ = case.run(inputs, None, None, "auto")
        assert y.shape[axis] == 0
        leaves = list(floating(inputs).values())
        found = torch.autograd.grad(y.sum(), leaves, create_graph=True, materialize_grads=True)
        assert not any(value.any() for value in found)


@law()
def test_strides_do_not_matter(case: Case) -> None:
    inputs = case.inputs(Size())
    transposed = {k: v.mT.contiguous().mT if v.dim() > 1 else v for k, v in inputs.items()}
    same_rows = {k: v[:1].expand_as(v) if k in case.along_time else v for k, v in inputs.items()}
    for odd in (transposed, same_rows):
        results = []
        for given in ({k: v.contiguous() for k, v in odd.items()}, odd):
            leaves = {k: v.requires_grad_() for k, v in floating(given).items()}
            y, last = case.run(given | leaves, None, None, "auto")
            results.append((y, last, gradients(y, last, leaves)))
        assert_results_near(*results)


@law()
def test_a_repeat_is_equal_to_the_bit(case: Case) -> None:
    runs = []
    for _ in range(2):
        inputs = leaves_of(case.inputs(Size(steps=130), dtype=torch.float32))
        y, last = case.run(inputs, None, None, "auto")
        runs.append({"y": y, **last, **gradients(y, last, floating(inputs))})
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


@law()
def test_inputs_and_states_are_not_changed(case: Case) -> None:
    for steps in (1, 7):
        given = [leaves_of(case.inputs(Size(steps=steps))), leaves_of(case.state(Size()))]
        kept = [{k: v.detach().clone() for k, v in tensors.items()} for tensors in given]
        y, last = case.run(*given, None, "auto")
        gradients(y, last, floating(given[0]))
        with torch.no_grad():
            y, last = case.run(*given, None, "auto")
            last = {k: v.clone() for k, v in last.items()}, last
            y += 1  # y is the caller's: the state must not be a part of it
        for tensors, before in zip([*given, last[1]], [*kept, last[0]], strict=True):
            assert all(torch.equal(tensors[k], v) for k, v in before.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@law("16 bits")
def test_16_bit_inputs_give_outputs_in_16_bits_and_states_in_32(
    case: Case, dtype: torch.dtype
) -> None:
    inputs = case.inputs(Size(steps=40), dtype=dtype)
    y, last = case.run(inputs, None, None, "auto")
    expected, _ = case.run(case.cast(inputs, torch.float64), None, None, "reference")
    assert y.dtype == dtype
    state_dtype = dtype if case.keeps_inputs else torch.float32
    assert {x.dtype for x in floating(last).values()} <= {state_dtype}
    assert_near(y, expected, 1e-2)


@law("layer")
def test_under_bf16_autocast_the_outputs_are_close(case: Case) -> None:
    inputs = case.inputs(Size(steps=40), dtype=torch.float32)
    expected, _ = case.run(inputs, None, None, "auto")
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = case.run(inputs, None, None, "auto")
    assert_near(y, expected, 5e-2)


@pytest.mark.parametrize("steps", LONG)
@law("slow decay")
def test_a_slow_decay_is_exact_over_bf16_inputs(case: Case, steps: int) -> None:
    """A decay in float32, its logarithm in bf16 as all else: that of the reference is the same."""
    inputs = case.held(case.inputs(Size(steps=steps), dtype=torch.bfloat16), 0.999)
    exact = case.cast(inputs, torch.float64)
    y, last = case.run(inputs, None, None, "auto")
    expected, expected_last = case.run(exact, None, None, "reference")
    assert_near(y, expected, 1e-2)
    assert_states_near(last, expected_last, 1e-4)


@law("decay")
def test_a_decay_in_bf16_is_refused_with_the_remedy(case: Case) -> None:
    inputs = case.inputs(Size())
    inputs[case.decay] = inputs[case.decay].bfloat16()
    with pytest.raises(ValueError, match="float32"):
        case.run(inputs, None, None, "auto")
