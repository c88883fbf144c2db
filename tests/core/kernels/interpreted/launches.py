"""When a Triton kernel is launched, and that the interpreter sees an access beside a tensor."""

from importlib import import_module
from types import SimpleNamespace

import pytest
import torch
from triton.runtime.errors import InterpreterError

from recurra.core.kernels import linear_scan, triton_support
from recurra.core.kernels.flashrnn.on_chip import fits


def test_an_access_beside_a_tensor_is_seen() -> None:
    kernel = import_module("recurra.core.kernels.linear_scan.triton")._run
    x, start = torch.ones(1, 3, 2), torch.zeros(1, 1, 2)
    numbers = (4, 1, 4, 2, 6, 2, 1, 2)  # four steps, where there are three
    options = {"REVERSE": False, "BACKWARD": False, "GRAD_A": False, "BLOCK": 32, "num_warps": 1}
    with pytest.raises(InterpreterError, match="outside the kernel's tensors"):
        triton_support.launch(kernel, 1, x, x, start, x, start, x, x, x, *numbers, **options)


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


def test_keys_too_wide_for_a_chip_take_the_portable_loop() -> None:
    fits = import_module("recurra.core.kernels.delta_rule.triton").fits
    assert fits("sm_90", torch.float32, 128)
    assert not fits("sm_80", torch.float32, 65)
    assert not fits("sm_90", torch.float64, 1)
