"""Checkpoints of strangers: tensors come out, code never runs, nothing larger than the limit."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from recurra.core.errors import CheckpointError
from recurra.core.pretrained import read_foreign

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, 2.0])}


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.folder),))


def same(read: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return read.keys() == expected.keys() and all(
        torch.equal(read[name], expected[name]) for name in expected
    )


def test_safetensors_and_both_forms_of_torch_save_are_read(tmp_path: Path) -> None:
    safetensors.torch.save_file(TENSORS, tmp_path / "new.safetensors")
    torch.save(TENSORS, tmp_path / "zipped.ckpt")
    torch.save(TENSORS, tmp_path / "old.th", _use_new_zipfile_serialization=False)
    for name in ("new.safetensors", "zipped.ckpt", "old.th"):
        assert same(read_foreign(tmp_path / name), TENSORS), name


def test_wrapped_state_dict_is_opened_where_asked(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": TENSORS}, tmp_path / "run.ckpt")
    under = ("model", "state_dict")
    assert same(read_foreign(tmp_path / "run.ckpt", under=under), TENSORS)
    with pytest.raises(CheckpointError, match="not tensors: epoch, state_dict"):
        read_foreign(tmp_path / "run.ckpt")
    torch.save(TENSORS, tmp_path / "flat.pt")
    assert same(read_foreign(tmp_path / "flat.pt", under=under), TENSORS)


def test_prefixes_are_stripped_once_in_order(tmp_path: Path) -> None:
    torch.save({"module.model.a.weight": torch.ones(1), "b": torch.ones(2)}, tmp_path / "p.pt")
    read = read_foreign(tmp_path / "p.pt", prefixes=("module.", "model."))
    assert sorted(read) == ["a.weight", "b"]
    read = read_foreign(tmp_path / "p.pt", prefixes=("module.",))
    assert sorted(read) == ["b", "model.a.weight"]


def test_names_that_meet_once_stripped_are_an_error(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "a": torch.zeros(1)}, tmp_path / "p.pt")
    with pytest.raises(CheckpointError, match="'a' twice"):
        read_foreign(tmp_path / "p.pt", prefixes=("module.",))


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_refused_and_never_run(tmp_path: Path, zipped: bool) -> None:
    torch.save(
        {"a": Trap(tmp_path / "sprung")},
        tmp_path / "trap.pt",
        _use_new_zipfile_serialization=zipped,
    )
    (tmp_path / "trap.pkl").write_bytes(pickle.dumps({"a": Trap(tmp_path / "sprung")}, protocol=2))
    for name in ("trap.pt", "trap.pkl"):
        with pytest.raises(CheckpointError, match="pickled code, which is never run") as caught:
            read_foreign(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


def test_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(1, 1), tmp_path / "module.pt")
    with pytest.raises(CheckpointError, match=r"save its state_dict\(\) alone"):
        read_foreign(tmp_path / "module.pt")


def test_file_over_the_limit_is_not_opened(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "large.pt")
    with pytest.raises(CheckpointError, match="over the limit"):
        read_foreign(tmp_path / "large.pt", max_bytes=4000)


def test_small_file_that_unpacks_over_the_limit_is_not_opened(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in plain.namelist():
            bomb.writestr(member, plain.read(member))
    assert (tmp_path / "bomb.pt").stat().st_size < 100_000
    with pytest.raises(CheckpointError, match="over the limit"):
        read_foreign(tmp_path / "bomb.pt", max_bytes=1_000_000)


@pytest.mark.parametrize("name", ["bad.pt", "bad.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello world\n", b"\x80\x02", b"PK\x03\x04 cut"])
def test_file_that_is_not_a_checkpoint_is_one_line(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name) as caught:
        read_foreign(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_cut_checkpoint_is_an_error(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:3000])
    with pytest.raises(CheckpointError, match="damaged"):
        read_foreign(tmp_path / "cut.pt")


def test_missing_file_folder_and_bare_tensor_are_errors(tmp_path: Path) -> None:
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    torch.save({}, tmp_path / "nothing.pt")
    with pytest.raises(CheckpointError, match="does not exist"):
        read_foreign(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_foreign(tmp_path)
    with pytest.raises(CheckpointError, match="holds a Tensor"):
        read_foreign(tmp_path / "tensor.pt")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_foreign(tmp_path / "nothing.pt")
