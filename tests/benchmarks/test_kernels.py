"""The tables of kernels name every kernel, and what they compare computes the same."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from recurra.core import kernels

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KERNELS = sorted(set(kernels.__all__) - {"retention"})  # which is a case of ssd


@pytest.fixture(params=["kernels", "kernels_on_gpu"])
def script(request, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module(request.param)


def small(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(n, 6) for n in shape)


def test_every_kernel_has_a_table(script) -> None:
    assert sorted(script.TABLES) == KERNELS


@pytest.mark.parametrize("kernel", KERNELS)
def test_all_ways_take_the_inputs_and_have_gradients(script, kernel) -> None:
    table = script.TABLES[kernel]
    for shape in table.shapes:
        drawn = table.draw(*small(shape))
        inputs = [x.requires_grad_(x.is_floating_point()) for x in drawn]
        for way in table.ways.values():
            way(*inputs).sum().backward()


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_ways_on_a_cpu_agree(monkeypatch, kernel) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    script = import_module("kernels")
    table = script.TABLES[kernel]
    script.check(table.ways, table.draw(*small(table.shapes[0])))
    wrong = {**table.ways, "wrong": lambda *z: torch.zeros_like(table.ways["ours"](*z))}
    with pytest.raises(AssertionError):
        script.check(wrong, table.draw(*small(table.shapes[0])))
