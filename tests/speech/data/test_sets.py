"""What `mix` writes: whole sets, and the same set again from its plan."""

import csv
import json
import os
import signal
from functools import partial

import pytest
import soundfile
from tests.speech.two_voices import write_corpus

from recurra.core.cli import run
from recurra.speech.cli import app
from recurra.speech.data.held_out import HeldOutConfig


def mix(*words):
    return run(app, "recurra-speech", ["mix", *map(str, words)])


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def sounds(tmp_path):
    return write_corpus(tmp_path / "sounds")


@pytest.fixture
def planned(sounds, tmp_path):
    """A set of two mixtures with its corpus; its plan is plan.json."""
    words = ["--corpus", sounds, "--speakers", 2, "--items", 2, "--seconds", 1.5]
    assert mix(tmp_path / "set", *words) == 0
    return tmp_path / "set"


def refused(capsys, *words):
    """The one line that a command ends with."""
    capsys.readouterr()
    assert mix(*words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_plan_makes_the_same_set_again(capsys, planned, sounds, tmp_path):
    told = capsys.readouterr().out.split(":", 1)[1]
    assert "seed 2026" in told
    assert mix(tmp_path / "again", "--corpus", sounds, "--plan", planned / "plan.json") == 0
    assert files(tmp_path / "again") == files(planned)
    assert capsys.readouterr().out.split(":", 1)[1] == told
    rows = list(csv.DictReader((planned / "index.csv").open()))
    assert [row["seconds"] for row in rows] == ["1.500", "1.500"]


def test_a_plan_names_what_the_corpus_lacks_or_has_otherwise(planned, sounds, tmp_path, capsys):
    words = [tmp_path / "again", "--corpus", sounds, "--plan", planned / "plan.json"]
    index = sounds / "clips" / "test-ann.json"
    text = index.read_text()
    index.write_text(text.replace("a.wav", "b.wav"))
    assert "no clip 'a.wav' of the package 'test-ann'" in refused(capsys, *words)
    index.write_text(text.replace('"start": 0', '"start": 5'))
    assert "give other samples" in refused(capsys, *words)
    assert not (tmp_path / "again").exists()
    plan = json.loads((planned / "plan.json").read_text())
    (tmp_path / "changed.json").write_text(json.dumps({**plan, "sha256": None}))
    assert mix(tmp_path / "again", "--corpus", sounds, "--plan", tmp_path / "changed.json") == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plan: plan.pop("seed"), "seed: Field required"),
        (lambda plan: plan["mixtures"].clear(), "one number of voices, not []"),
        (lambda plan: plan["mixtures"][0]["voices"].pop(), "mixtures.0: .* 2 voices"),
        (lambda plan: plan["mixtures"][1].update(samples="1"), "mixtures.1.samples"),
        (lambda plan: plan["mixtures"][1]["voices"][0].update(speed=0.0), "voices.0: .* speed"),
        (lambda plan: plan["mixtures"][1]["voices"][0].update(gain=99.0), "full scale"),
        (
            lambda plan: plan["mixtures"][1]["voices"][0].update(equaliser_db=[0.0]),
            "voices.0: .* an equaliser has 7 bands",
        ),
    ],
)
def test_what_is_no_plan_is_one_line(planned, sounds, tmp_path, capsys, change, message):
    plan = json.loads((planned / "plan.json").read_text())
    change(plan)
    (tmp_path / "bad.json").write_text(json.dumps(plan))
    words = [tmp_path / "again", "--corpus", sounds, "--plan", tmp_path / "bad.json"]
    line = refused(capsys, *words)
    assert all(part in line for part in message.split(" .* "))
    (tmp_path / "bad.json").write_bytes(b"RIFF\xff\xff")
    assert "not a plan of mixtures" in refused(capsys, *words)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--items", 3], "--items is for mixtures of voices"),
        (["--seconds", 3], "--seconds is for mixtures of voices"),
        (["--speakers", 2, "--per-snr", 60], "--per-snr is for mixtures with noise"),
        (["--plan", "plan.json", "--seed", 2026], "--seed is for new mixtures"),
        (["--split", "nope"], "there are train, validation, test"),
        (["--speakers", 2, "--split", "nope"], "there are train, validation, test"),
        (["--plan", "nowhere.json"], "nowhere.json: No such file"),
    ],
)
def test_a_wrong_call_is_one_line(sounds, tmp_path, capsys, words, message):
    assert message in refused(capsys, tmp_path / "set", "--corpus", sounds, *words)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("with_noise", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_set_that_is_stopped_leaves_nothing_and_can_be_made_again(
    corpus_folder, tmp_path, monkeypatch, capsys, with_noise, number, code
):
    write, written = soundfile.write, []

    def stopped(path, *audio):
        write(path, *audio)
        written.append(path)
        if len(written) == 5:
            os.kill(os.getpid(), number)

    kinds = ["--per-snr", 1] if with_noise else ["--speakers", 2, "--items", 3, "--seconds", 1]
    words = [tmp_path / "sets" / "one", "--corpus", corpus_folder, *kinds]
    of_music = partial(HeldOutConfig, kinds=("music",))  # of noise, the corpus has little else
    monkeypatch.setattr("recurra.speech.data.held_out.HeldOutConfig", of_music)
    (tmp_path / "sets" / ".one.partial" / "mixture").mkdir(parents=True)  # of one that was killed
    monkeypatch.setattr(soundfile, "write", stopped)
    assert mix(*words) == code
    assert len(written) == 5
    assert not list((tmp_path / "sets").iterdir())
    monkeypatch.setattr(soundfile, "write", write)
    assert mix(*words) == 0
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["one"]


def test_a_place_that_is_taken_is_refused(sounds, tmp_path, capsys, monkeypatch):
    words = ["--corpus", sounds, "--speakers", 2, "--items", 1, "--seconds", 1]
    (tmp_path / "file").touch()
    assert "is a file" in refused(capsys, tmp_path / "file", *words)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert "is the current folder" in refused(capsys, ".", *words)
    monkeypatch.chdir(tmp_path)
    assert mix("empty", *words) == 0
    assert "is not empty" in refused(capsys, "empty", *words)
