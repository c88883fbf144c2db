"""An official checkpoint given as a model: the error names the command that makes it one."""

import pytest

from recurra.core.cli import run
from recurra.speech.cli import app

REMEDY = "is an official checkpoint; make a model folder of it: recurra-speech import-checkpoint "


@pytest.fixture
def error_of(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").touch()

    def call(*words):
        assert run(app, "recurra-speech", list(words)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return call


def place(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("names", "model", "imported"),
    [
        (["last_best_checkpoint", "last_best_checkpoint.pt"], "m/", "m"),
        (["encoder.ckpt", "masknet.ckpt", "decoder.ckpt"], "m", "m"),
        (["FRCRN.pt", "notes.txt"], "m", "m/FRCRN.pt"),
        (["c_m.pt", "c_g.pt"], "m", "m/c_g.pt m/c_m.pt"),
        (["1.pt", "2.pt", "3.pt"], "m", "m/FILE"),
        (["a b.pt"], "m/a b.pt", "'m/a b.pt'"),
        (["last_best_checkpoint.pt"], "m/last_best_checkpoint.pt", "m/last_best_checkpoint.pt"),
    ],
)
def test_a_checkpoint_is_sent_to_its_import(error_of, tmp_path, names, model, imported):
    place(tmp_path / "m", *names)
    assert f"{model} {REMEDY}{imported} -o DIR" in error_of("separate", "a.wav", "--model", model)


@pytest.mark.parametrize(
    "words",
    [
        ["enhance", "a.wav", "--model", "m"],
        ["upsample", "a.wav", "--model", "m"],
        ["live", "--rate", "16000", "--model", "m"],
        ["info", "m"],
        ["bench", "m"],
        ["export", "m", "-o", "m.onnx"],
    ],
)
def test_every_command_that_takes_a_model_says_so(error_of, tmp_path, words):
    place(tmp_path / "m", "last_best_checkpoint")
    assert REMEDY + "m -o DIR" in error_of(*words)


def test_what_is_no_checkpoint_is_told_as_before(error_of, tmp_path):
    place(tmp_path / "m", "notes.txt")
    place(tmp_path / "n", "config.json", "old.pt")
    assert "is a folder without config.json" in error_of("info", "m")
    assert "is a file; a model is the folder" in error_of("info", "m/notes.txt")
    assert "import-checkpoint" not in error_of("info", "n")
    assert "no such folder" in error_of("info", "nothing.pt")
