"""What a run leaves on the disk, and what it refuses."""

import dataclasses
import errno
import json
import os
import stat
import subprocess
import sys

import pytest
import torch

from recurra.core.errors import RecurraError
from recurra.core.training import FitConfig
from recurra.core.training.run_folder import RunFolder, latest_checkpoint

CONFIG = FitConfig(max_steps=10)


@pytest.fixture
def folder(tmp_path):
    """An open run folder."""
    run = RunFolder(tmp_path / "run", CONFIG, 1, resume=True)
    yield run
    run.close()


def reopen(run: RunFolder, config: FitConfig = CONFIG, processes: int = 1, **kwargs) -> RunFolder:
    """The same folder in a later sitting."""
    run.close()
    return RunFolder(run.path, config, processes, **{"resume": True, **kwargs})


def names(run: RunFolder) -> list[str]:
    """The files in its folder of checkpoints."""
    return sorted(p.name for p in run.checkpoints.iterdir())


def test_the_folder_is_private(folder):
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_the_last_two_checkpoints_are_kept(folder):
    for step in (5, 99_999_999, 100_000_000):
        folder.save({"step": step, "value": torch.full((3,), float(step))})
    assert names(folder) == ["step-100000000.pt", "step-99999999.pt"]
    assert latest_checkpoint(folder.path)["step"] == 100_000_000


def test_a_half_written_checkpoint_is_ignored_and_removed(folder):
    folder.save({"step": 1})
    (folder.checkpoints / ".step-00000002.pt.partial").write_bytes(b"PK half")
    assert latest_checkpoint(folder.path)["step"] == 1
    reopen(folder).close()
    assert names(folder) == ["step-00000001.pt"]


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(folder):
    folder.save({"step": 1})
    newest = folder.save({"step": 2, "value": torch.zeros(1000)})
    newest.write_bytes(newest.read_bytes()[:-700])
    with pytest.warns(UserWarning, match=r"step-00000002\.pt is damaged"):
        assert latest_checkpoint(folder.path)["step"] == 1


def test_a_checkpoint_is_loaded_without_unpickling_code(folder):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(folder.path / "owned"),)

    torch.save({"format": 1, "step": 3, "trap": Trap()}, folder.checkpoints / "step-00000003.pt")
    with pytest.warns(UserWarning, match="damaged"):
        assert latest_checkpoint(folder.path) is None
    assert not (folder.path / "owned").exists()


def test_a_full_disk_is_one_line_and_harms_nothing(folder, monkeypatch):
    folder.save({"step": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecurraError, match=r"cannot write .*step-00000002\.pt.*No space left"):
        folder.save({"step": 2})
    assert names(folder) == ["step-00000001.pt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.5}, "learning_rate was 0.001, now 0.5"),
        ({"max_steps": 9}, "max_steps was 10, now 9"),
        ({"batch_size": 2, "seed": 1}, "batch_size was 8, now 2; seed was 0, now 1"),
    ],
)
def test_another_run_is_refused_by_its_differences(folder, change, message):
    with pytest.raises(RecurraError, match=message):
        reopen(folder, dataclasses.replace(CONFIG, **change))
    assert json.loads((folder.path / "config.json").read_text())["config"]["max_steps"] == 10


def test_a_longer_run_and_another_way_of_carrying_it_out_are_accepted(folder):
    other = dataclasses.replace(CONFIG, max_steps=20, workers=3, threads=2, log_every=7)
    reopen(folder, other).close()
    assert json.loads((folder.path / "config.json").read_text())["config"]["max_steps"] == 20


def test_another_number_of_processes_is_refused(folder):
    with pytest.raises(RecurraError, match="processes were 1, now 2"):
        reopen(folder, processes=2)


def test_a_run_of_other_settings_is_another_run(folder):
    asked = {"network": {"d_model": 64, "ngrams": (1, 2)}, "log": "ab12"}
    with pytest.raises(RecurraError, match=r"log was None, now 'ab12'; network\.d_model was None"):
        reopen(folder, settings=asked)
    run = RunFolder(folder.path.with_name("new"), CONFIG, 1, resume=True, settings=asked)
    reopen(run, settings=asked).close()
    for change, said in (
        ({"log": "cd34"}, r"\(log was 'ab12', now 'cd34'\): name another folder .*--run"),
        ({"network": {"d_model": 32, "ngrams": [1, 2]}}, r"\(network.d_model was 64, now 32\)"),
        ({"loss": "gbce"}, r"\(loss was None, now 'gbce'\)"),
    ):
        with pytest.raises(RecurraError, match=said):
            reopen(run, settings=asked | change)
    with pytest.raises(RecurraError, match="2 more"):
        reopen(run, settings={"a": 1, "b": 2})


def test_a_run_is_not_overwritten(folder):
    with pytest.raises(RecurraError, match="already holds a run"):
        reopen(folder, resume=False)


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RecurraError, match="holds no training run"):
        RunFolder(tmp_path, CONFIG, 1, resume=True)
    with pytest.raises(RecurraError, match=r"cannot use .*letter\.txt"):
        RunFolder(tmp_path / "letter.txt", CONFIG, 1, resume=True)


def test_a_second_process_is_refused_and_a_dead_one_is_not_waited_for(folder):
    folder.close()
    code = (
        "import fcntl, sys\n"
        "file = open(sys.argv[1], 'w')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(folder.path / ".lock")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RecurraError, match="another process is training in"):
            reopen(folder)
        holder.kill()
    reopen(folder).close()


class Saves(torch.nn.Module):
    """Something that can save itself, or die while it does."""

    def __init__(self, text: str, dies: bool = False) -> None:
        super().__init__()
        self.text, self.dies = text, dies

    def save_pretrained(self, folder):
        folder.mkdir()
        (folder / "model").write_text(self.text)
        if self.dies:
            raise OSError("died")


def test_an_export_replaces_the_one_before_or_leaves_it(folder):
    folder.export("best", Saves("one"))
    folder.export("best", Saves("two"))
    assert (folder.path / "best" / "model").read_text() == "two"
    with pytest.raises(RecurraError, match=r"cannot write .*best: died"):
        folder.export("best", Saves("three", dies=True))
    assert (folder.path / "best" / "model").read_text() == "two"
    reopen(folder).close()
    assert [p.name for p in folder.path.glob("*best*")] + [
        p.name for p in folder.path.glob(".best*")
    ] == ["best"]


def test_an_export_killed_between_its_two_renames_is_brought_back(folder):
    folder.export("best", Saves("one"))
    (folder.path / "best").rename(folder.path / ".best.old")
    reopen(folder).close()
    assert (folder.path / "best" / "model").read_text() == "one"


def test_a_model_that_cannot_save_itself_is_not_exported(folder):
    folder.export("best", torch.nn.Linear(1, 1))
    assert not (folder.path / "best").exists()
