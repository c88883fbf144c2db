"""The laws that every kernel and layer keeps, each run on the cases that call for it.

A law that a case's declarations do not call for is not collected; the last line of the test run
counts those. What only one kernel or layer promises is tested in its own file.
"""

import pytest
import torch
from tests.core.law_cases import Case, Size, Tensors, cases
from torch import Tensor

Result = tuple[Tensor, Tensors, Tensors]
BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-12}
EDGES = [0, 1, 2, 63, 64, 65, 127]  # steps, about a block of 64
LONG = [257, pytest.param(10_000, marks=pytest.mark.slow)]


def law(name: str | None = None, *, slow_for_layers: bool = False) -> pytest.MarkDecorator:
    """Run a test on every case that calls for a law, or on all."""
    marked = [
        pytest.param(case, marks=pytest.mark.slow if slow_for_layers and not case.kernel else ())
        for case in cases(name)
    ]
    return pytest.mark.parametrize("case", marked, ids=[case.name for case in cases(name)])


def assert_near(got: Tensor, expected: Tensor, bound: float = 1e-12) -> None:
    """Hold the largest error against max(1, largest value)."""
    assert got.shape == expected.shape
    if expected.numel():
        scale = max(1.0, float(expected.detach().abs().max()))
        error = float((got.double() - expected.double()).detach().abs().max())
        assert error <= bound * scale, f"error {error:.3g}, largest value {scale:.3g}"


def assert_states_near(got: Tensors, expected: Tensors, bound: float = 1e-12) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert_near(got[name], value, bound)


def assert_results_near(expected: Result, got: Result, bound: float = 1e-12) -> None:
    """Hold two runs against each other: y, the last state and the gradients."""
    assert_near(got[0], expected[0], bound)
    assert_states_near(got[1], expected[1], bound)
    assert_states_near(got[2], expected[2], bound)


def floating(tensors: Tensors) -> Tensors:
    return {name: x for name, x in tensors.items() if x.is_floating_point()}


def gradients(y: Tensor, state: Tensors, leaves: Tensors) -> Tensors:
    """Return the gradients of a fixed random projection of y and the state; unused leaves get 0."""
    generator = torch.Generator().manual_seed(5)

    def projected(x: Tensor) -> Tensor:
        weights = torch.randn(x.shape, dtype=torch.float64, generator=generator)
        return (x * weights.to(x.dtype)).double().sum()

    total = projected(y) + sum(projected(x) for x in state.values() if x.requires_grad)
    leaf = list(leaves.values())
    found = torch.autograd.grad(total, leaf, retain_graph=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def leaves_of(tensors: Tensors) -> Tensors:
    return {
        k: v.detach().clone().requires_grad_() if v.is_floating_point() else v
        for k, v in tensors.items()
    }


@law()
def test_what_is_causal_or_looks_ahead_by_a_fixed_number_of_steps_streams(case: Case) -> None:
    assert case.streams or not (case.causal or case.look_ahead)
    assert case.causal == (case.streams and case.look_ahead == 0)


@pytest.mark.parametrize("steps", EDGES)
@law("reference")
def test_the_fast_form_is_the_reference_with_its_state_and_gradients(
    case: Case, steps: int
) -> None:
    size = Size(steps=steps)
    results = []
    for backend in ("reference", "auto"):
        inputs, state = leaves_of(case.inputs(size)), leaves_of(case.state(size))
        y, last = case.run(inputs, state, None, backend)
        leaves = floating(inputs) | {f"state {k}": v for k, v in floating(state).items()}
        results.append((y, last, gradients(y, last, leaves)))
    assert_results_near(*results)


@pytest.mark.parametrize("width", [1, 5, 24, 72, 100])
@law("reference")
def test_any_head_size_equals_the_reference(case: Case, width: int) -> None:
    inputs = case.inputs(Size(steps=5, width=width))
    y, last = case.run(inputs, None, None, "auto")
    expected, expected_last = case.run(inputs, None, None, "reference")
    assert_near(y, expected)
    assert_states_near(last, expected_last)


@law()
def test_gradients_and_gradients_of_gradients_are_right(case: Case) -> None:
    """Each element of a kernel's inputs on its own; a layer's many weights in random directions."""
    size = Size(rows=1, steps=3, width=2)
    inputs, state = leaves_of(case.inputs(size)), leaves_of(case.state(size))
    after = case.inputs(size, seed=1)
    names = [*floating(inputs)], [*floating(state)]

    def two_calls(*values: Tensor) -> tuple[Tensor, Tensor]:
        """The second call shows the gradient that passes through the returned state."""
        given = inputs | dict(zip(names[0], values, strict=False))
        before = state | dict(zip(names[1], values[len(names[0]) :], strict=True))
        y, middle = case.run(given, before, None, "auto")
        weights = {k: v for k, v in given.items() if k not in case.along_time}
        return y, case.run(after | weights, middle, None, "auto")[0]

    values = [*floating(inputs).values(), *floating(state).values()]
    assert torch.autograd.gradcheck(two_calls, values, fast_mode=not case.kernel)
    assert torch.autograd.gradgradcheck(two_calls, values, fast_mode=True)


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
@law("lengths")
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
    inputs = leaves_of(case.inputs(Size(rows=0)))
    y, _ = case.run(inputs, None, None, "auto")
    assert y.shape[0] == 0
    found = gradients(y, {}, floating(inputs))
    assert not any(value.any() for value in found.values())


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


@law("autocast")
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


@law()
def test_one_step_exports(case: Case) -> None:
    size = Size(steps=1)
    inputs, state = case.inputs(size, dtype=torch.float32), case.state(size, dtype=torch.float32)
    assert_exported(case, inputs, state, {}, inputs)


@law("dynamic export", slow_for_layers=True)
def test_any_number_of_steps_exports(case: Case) -> None:
    inputs = case.inputs(Size(steps=16), dtype=torch.float32)
    longer = case.inputs(Size(steps=50), dtype=torch.float32)
    weights = {k: v for k, v in inputs.items() if k not in case.along_time}
    assert_exported(case, inputs, None, {1: torch.export.Dim.DYNAMIC}, longer | weights)


def assert_exported(
    case: Case, inputs: Tensors, state: Tensors | None, free: dict, other: Tensors
) -> None:
    """Export with `inputs`, then hold the exported program against the eager one on `other`."""
    module = case.module(inputs)
    names = [name for name in inputs if name in case.along_time]
    shapes = {"inputs": dict.fromkeys(names, free), "state": state and {name: {} for name in state}}
    given = {name: inputs[name] for name in names}
    program = torch.export.export(module, (given, state), dynamic_shapes=shapes)
    y, last = program.module()({name: other[name] for name in names}, state)
    expected, expected_last = case.run(other, state, None, "auto")
    assert_near(y, expected, 1e-6)
    assert_states_near(last, expected_last, 1e-6)


@law("compile", slow_for_layers=True)
def test_it_compiles_into_one_graph_with_its_gradients(case: Case) -> None:
    torch.compiler.reset()
    inputs = case.inputs(Size(steps=6), dtype=torch.float32)
    module = case.module(inputs)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    results = []
    for run in (module, compiled):
        given = leaves_of({name: inputs[name] for name in inputs if name in case.along_time})
        y, last = run(given)
        leaves = floating(given) | dict(module.named_parameters())
        results.append((y, last, gradients(y, last, leaves)))
    assert_results_near(*results, bound=1e-5)
