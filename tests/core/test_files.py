"""A file is there whole, or what was there before is."""

import errno
import os

import pytest

from recurra.core.errors import RecurraError
from recurra.core.files import refuse_to_overwrite, replaced_file


def test_what_is_written_takes_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replaced_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def write(path, text, stopped=None):
    with replaced_file(path) as partial:
        partial.write_text(text)
        if stopped is not None:
            raise stopped


@pytest.mark.parametrize("stopped", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_what_was_there_and_nothing_beside_it(tmp_path, stopped):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(stopped):
        write(path, "half", stopped)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecurraError, match=r"^cannot write .*a\.txt: No space left on device$"):
        write(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "is a folder; give the name of a file"), ("no/a.txt", "the folder .*no does not exist")],
)
def test_a_place_that_cannot_hold_a_file_is_refused_before_any_work(tmp_path, name, message):
    worked = []
    with pytest.raises(RecurraError, match=message), replaced_file(tmp_path / name):
        worked.append(1)
    assert worked == []


def test_a_file_that_is_there_is_replaced_only_when_asked_to(tmp_path):
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.touch()
    refuse_to_overwrite(new, None, force=False)
    refuse_to_overwrite(new, old, force=True)
    with pytest.raises(
        RecurraError, match=r"old\.txt is there already; give --force to replace it"
    ):
        refuse_to_overwrite(None, new, old, force=False)
