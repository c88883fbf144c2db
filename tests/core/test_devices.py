"""A device is one of this machine, or the message lists those."""

import pytest
import torch

from recurra.core.devices import choose_device
from recurra.core.errors import RecurraError


def two_gpus(monkeypatch, count: int = 2) -> None:
    gpu = torch.device("cuda") if count else None
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: gpu)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1"])
def test_a_device_that_is_there_is_taken(name, monkeypatch):
    two_gpus(monkeypatch)
    assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["cuda:2", "mps", "meta", "gpu", "", "cpu:1"])
def test_one_that_is_not_is_refused_with_what_there_is(name, monkeypatch):
    two_gpus(monkeypatch)
    with pytest.raises(RecurraError) as error:
        choose_device(name)
    assert str(error.value) == f"no device {name!r} on this machine; there is cpu, cuda:0, cuda:1"


def test_a_machine_without_a_gpu_has_its_cpu(monkeypatch):
    two_gpus(monkeypatch, count=0)
    with pytest.raises(RecurraError, match=r"there is cpu$"):
        choose_device("cuda")
