"""Every command once, on the shipped example or a file of the test's own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recurra.core.cli import run
from recurra.speech.cli import app

EXAMPLES = Path(__file__).parents[2] / "examples"
MAIN = [sys.executable, "-c", "from recurra.speech.cli import main; raise SystemExit(main())"]


@pytest.fixture
def call(tmp_path, monkeypatch):
    for name in ("noisy.wav", "clean.wav"):
        shutil.copy(EXAMPLES / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run(app, "recurra-speech", list(arguments))


def test_enhance_with_the_shipped_weights_brings_the_example_nearer_to_its_clean_half(call, capsys):
    assert call("enhance", "noisy.wav") == 0
    capsys.readouterr()
    scores = []
    for name in ("noisy.wav", "noisy.enhanced.wav"):
        assert call("evaluate", "clean.wav", name, "--metric", "si_sdr", "--json") == 0
        scores.append(json.loads(capsys.readouterr().out)["scores"]["si_sdr"])
    assert scores[1] > scores[0] + 3


def test_evaluate_tells_what_of_two_folders_it_could_not_score(call, tmp_path, capsys):
    for folder in ("clean", "made"):
        (tmp_path / folder).mkdir()
    for source, copy in (
        ("clean.wav", "clean/a.wav"),
        ("clean.wav", "clean/b.wav"),
        ("noisy.wav", "made/a.enhanced.wav"),
    ):
        shutil.copy(tmp_path / source, tmp_path / copy)
    assert call("evaluate", "clean", "made", "--metric", "si_sdr") == 1
    captured = capsys.readouterr()
    assert "si_sdr" in captured.out
    assert "b.wav" in captured.err


def test_plot_writes_a_picture(call, tmp_path):
    assert call("plot", "noisy.wav", "clean.wav", "-o", "picture.png") == 0
    assert (tmp_path / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["plot", "noisy.wav", "clean.wav"], "before-after.png"),
        (["plot", "noisy.wav", "clean.wav", "-o", "mine.svg"], "mine.svg"),
        (["export", "frcrn-live", "-o", "mine.onnx"], "mine.onnx"),
        (["import-checkpoint", "last.pt", "-o", "ours"], "ours/model.safetensors"),
    ],
)
def test_what_is_there_is_kept_without_force(call, tmp_path, capsys, arguments, kept):
    path = tmp_path / kept
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    assert call(*arguments) == 2
    assert capsys.readouterr().err == (
        f"recurra-speech: error: {kept} is there already; give --force to replace it\n"
    )
    assert path.read_text() == "mine"


def test_plot_replaces_a_picture_when_asked_to(call, tmp_path):
    (tmp_path / "picture.png").write_text("mine")
    assert call("plot", "noisy.wav", "clean.wav", "-o", "picture.png", "--force") == 0
    assert (tmp_path / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_info_describes_the_shipped_model(call, capsys):
    assert call("info", "frcrn-small", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters"] <= 1_000_000
    assert facts["stored_bytes"] <= 2_000_000
    assert facts["licence"] == "cc-by-sa-4.0"


def test_live_cleans_a_pipe_of_samples_and_tells_its_latency(causal_model):
    samples = (3000 * np.random.default_rng(0).standard_normal(5000)).astype("<i2")
    result = subprocess.run(
        [*MAIN, "live", "--rate", "16000", "--model", causal_model],
        input=samples.tobytes(),
        capture_output=True,
        check=True,
    )
    assert len(result.stdout) == 2 * len(samples)
    assert b"latency 40 ms" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["live"], "give --rate"),
        (["enhance", "noisy.wav", "--device", "gpu"], "no device 'gpu' on this machine"),
        (["train", "gone.yaml"], "gone.yaml"),
        (["evaluate", "clean.wav", "."], ". is a folder and clean.wav is not"),
        (["info", "no-such-model"], "no model 'no-such-model'"),
        (["plot", "gone.wav", "noisy.wav"], "gone.wav"),
        (["mix", "out", "--corpus", "gone"], "data fetch"),
    ],
)
def test_a_call_that_cannot_work_is_one_line_and_exit_code_2(call, capsys, arguments, message):
    assert call(*arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1


def test_where_nothing_is_scored_there_are_reasons_and_no_empty_table(call, tmp_path, capsys):
    for name in ("clean", "cleaned"):
        (tmp_path / name).mkdir()
    (tmp_path / "clean" / "a.wav").write_bytes(b"")
    folders = (str(tmp_path / "clean"), str(tmp_path / "cleaned"))
    assert call("evaluate", *folders, "--metric", "si_sdr") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "a.wav: has no estimate in" in err
