"""No command writes over an input, its own or another one's, not even with --force."""

import os
from pathlib import Path

import pytest

from recurra.core.cli import expand_inputs, run
from recurra.core.errors import RecurraError
from recurra.speech.audio_files import choose_outputs, is_input
from recurra.speech.cli import app
from recurra.speech.separate_files import choose_outputs as choose_speakers


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write files of a given name, with the name in each; return what reads them all."""
    monkeypatch.chdir(tmp_path)

    def write(*names):
        for name in names:
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text(name)
        return lambda: {str(p): p.read_text() for p in Path().rglob("*.wav")}

    return write


@pytest.mark.parametrize(
    "words",
    [
        "enhance a.wav a.enhanced.wav",
        "enhance a.enhanced.wav a.wav",
        "enhance in/a.wav b/a.wav -o b/",
        "separate a.wav a.speaker1.wav",
        "separate a.wav a.speaker2.wav",
        "separate a.wav a.speakers.wav --output multichannel",
        "separate a.wav ./sub/../a.speaker1.wav",
        "upsample a.wav a.upsampled.wav --model sr",
    ],
)
def test_an_input_that_is_the_output_of_another_is_kept(files, words, capsys, monkeypatch):
    class TwoVoices:
        n_streams = 2

    monkeypatch.setattr(
        "recurra.speech.separator.Separator.from_pretrained", lambda *a, **k: TwoVoices()
    )
    command, *rest = words.split()
    names = [word for word in rest if word.endswith(".wav")]
    contents = files("sub/x.wav", *names)
    before = contents()
    assert run(app, "recurra-speech", [command, *rest, "--force"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "never overwritten; leave one of the two out" in lines[0]
    assert contents() == before


def test_names_of_one_file_are_one(files):
    files("a.wav", "b.wav")
    os.symlink("b.wav", "a.enhanced.wav")
    with pytest.raises(RecurraError, match=r"a\.enhanced\.wav.*input too"):
        choose_outputs(expand_inputs(["a.wav", "b.wav"], wanted=is_input), None, ".enhanced")
    os.symlink(".", "again")
    entries = expand_inputs(["a.wav", "again/a.wav"], wanted=is_input)
    with pytest.raises(RecurraError, match="would both be written"):
        choose_speakers(entries, None, 2, "files")


def test_an_output_that_is_its_own_input_is_named(files):
    files("a.wav")
    for output in (".", "./a.wav", "../" + Path.cwd().name + "/a.wav"):
        with pytest.raises(RecurraError, match="is the input itself, which is never overwritten"):
            choose_outputs(expand_inputs(["a.wav"], wanted=is_input), output, ".enhanced")
