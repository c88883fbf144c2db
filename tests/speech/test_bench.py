"""`recurra-speech bench`: figures of each model in a process of its own."""

import json
import subprocess

import pytest
import torch
from tests.speech.test_separate_files import TINY

from recurra.core.cli import run
from recurra.core.errors import RecurraError
from recurra.speech.bench import bench, measure
from recurra.speech.cli import app
from recurra.speech.models.mossformer2_ss import MossFormer2Ss


@pytest.fixture
def separating(tmp_path):
    torch.manual_seed(0)
    MossFormer2Ss(TINY).save_pretrained(tmp_path / "apart")
    return str(tmp_path / "apart")


def test_both_kinds_of_models_are_measured(model, separating):
    for name, kind in ((model, "frcrn"), (separating, "mossformer2-ss")):
        speed = measure(name, 0.5, "cpu", "f32")
        assert (speed.kind, speed.sample_rate, speed.seconds_of_audio) == (kind, 16000, 0.5)
        assert speed.real_time_factor > 0
        assert speed.cpu_factor > 0
        assert 0 < speed.base_mib <= speed.peak_mib


@pytest.mark.slow
def test_the_command_gives_a_table_or_json(model, separating, capsys):
    arguments = ["bench", model, separating, "--seconds", "0.5", "--threads", "1"]
    assert run(app, "recurra-speech", [*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(speed["model"], speed["kind"]) for speed in found] == [
        (model, "frcrn"),
        (separating, "mossformer2-ss"),
    ]
    assert run(app, "recurra-speech", arguments) == 0
    assert "real-time factor" in capsys.readouterr().out


def test_without_names_those_that_ship_are_measured(monkeypatch):
    asked = []

    def ended(words, **_):
        asked.append(json.loads(words[-1])["name"])
        return subprocess.CompletedProcess(words, 2, "", "error: not today")

    monkeypatch.setattr(subprocess, "run", ended)
    with pytest.raises(RecurraError, match="frcrn-live: not today"):
        next(bench([]))
    assert asked == ["frcrn-live"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "gone"),
        (["frcrn-small", "--seconds", "0"], "0.1 to 600 seconds, not 0"),
    ],
)
def test_a_wrong_call_is_one_line(arguments, message, capsys):
    assert run(app, "recurra-speech", ["bench", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_what_a_process_says_on_failing_is_the_error():
    with pytest.raises(RecurraError, match=r"frcrn-small: .*cuda:99"):
        next(bench(["frcrn-small"], device="cuda:99"))
