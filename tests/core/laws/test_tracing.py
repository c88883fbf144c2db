"""The laws of what PyTorch traces: every kernel and layer exports, and compiles where it can."""

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


@law()
def test_one_step_exports(case: Case) -> None:
    size = Size(steps=1)
    inputs, state = case.inputs(size, dtype=torch.float32), case.state(size, dtype=torch.float32)
    assert_exported(case, inputs, state, {}, inputs)


@pytest.mark.slow
@law("dynamic export")
def test_any_number_of_steps_exports(case: Case) -> None:
    inputs = case.inputs(Size(steps=16), dtype=torch.float32)
    longer = case.inputs(Size(steps=150), dtype=torch.float32)
    weights = {k: v for k, v in inputs.items() if k not in case.along_time}
    assert_exported(case, inputs, None, {1: torch.export.Dim.DYNAMIC}, longer | weights)


@pytest.mark.slow
@law("fixed export")
def test_a_loop_over_steps_exports_at_the_steps_of_its_example(case: Case) -> None:
    inputs = case.inputs(Size(steps=5), dtype=torch.float32)
    assert_exported(case, inputs, None, {}, inputs)


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
