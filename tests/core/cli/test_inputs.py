from pathlib import Path

import pytest

from recurra.core.cli import expand_inputs
from recurra.core.errors import RecurraError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.wav", "a.wav", "notes.txt", "deep/c.wav", ".hidden/d.wav", ".e.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def wanted(path):
    return path.suffix == ".wav"


def names(*arguments):
    return [str(entry.relative) for entry in expand_inputs(map(str, arguments), wanted=wanted)]


def test_a_folder_gives_its_wanted_visible_files_with_their_relative_paths(folder):
    assert names(folder) == ["a.wav", "b.wav", str(Path("deep/c.wav"))]


def test_a_pattern_that_the_shell_left_alone_is_expanded(folder):
    assert names(folder / "*") == ["a.wav", "b.wav"]
    assert names(folder / "**" / "*.wav") == ["a.wav", "b.wav", "c.wav"]


def test_a_named_file_is_taken_whatever_its_name_and_only_once(folder):
    assert names(folder / "notes.txt", folder / "a.wav", folder) == [
        "notes.txt",
        "a.wav",
        "b.wav",
        str(Path("deep/c.wav")),
    ]


def test_a_missing_file_is_passed_on_and_the_pipe_is_itself(folder):
    assert [str(e) for e in expand_inputs(["-", "gone.wav"], wanted=wanted)] == ["-", "gone.wav"]


def test_nothing_found_is_named(folder):
    with pytest.raises(RecurraError, match=r"matches no file"):
        expand_inputs([str(folder / "*.mp3")], wanted=wanted)
    (folder / "empty").mkdir()
    with pytest.raises(RecurraError, match=r"empty: no file in this folder"):
        expand_inputs([str(folder / "empty")], wanted=wanted)
