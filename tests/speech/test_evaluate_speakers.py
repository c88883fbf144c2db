"""Mixtures of voices made by `mix --speakers`, and scored by `evaluate --speakers`."""

import csv
import json

import numpy as np
import pytest
import soundfile
from tests.speech.two_voices import write_corpus

from recurra.core.cli import run
from recurra.speech.cli import app
from recurra.speech.evaluate_speakers import evaluate_speakers
from recurra.speech.metrics import si_sdr, stoi


def command(*words):
    return run(app, "recurra-speech", list(map(str, words)))


@pytest.fixture
def mixed(tmp_path):
    write_corpus(tmp_path / "sounds", ("test",))
    words = ["--corpus", tmp_path / "sounds", "--speakers", 2, "--items", 2]
    assert command("mix", tmp_path / "set", *words) == 0
    return tmp_path / "set"


def samples(path):
    return soundfile.read(path, dtype="int16")[0].astype(int)


def test_voices_add_up_to_their_mixture_exactly_and_always_alike(mixed, tmp_path, capsys):
    for name in ("0000", "0001"):
        voices = [samples(mixed / "voices" / f"{name}.speaker{i}.wav") for i in (1, 2)]
        assert np.array_equal(sum(voices), samples(mixed / "mixture" / f"{name}.wav"))
    rows = list(csv.reader((mixed / "index.csv").open()))
    assert rows[0] == ["name", "speaker1", "speaker2", "seconds"]
    assert sorted(rows[1][1:3]) == ["test-ann", "test-ben"]
    words = ["--corpus", tmp_path / "sounds", "--speakers", 2, "--items", 2]
    assert command("mix", tmp_path / "again", *words) == 0
    for path in (mixed / "mixture").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / "mixture" / path.name).read_bytes()
    assert (tmp_path / "again" / "index.csv").read_text() == (mixed / "index.csv").read_text()
    assert command("mix", tmp_path / "again", *words) == 2
    assert "is not empty" in capsys.readouterr().err


def test_each_voice_is_scored_with_its_best_match(mixed, tmp_path, capsys):
    apart = tmp_path / "apart"
    apart.mkdir()
    rng = np.random.default_rng(0)
    true = [samples(mixed / "voices" / f"0000.speaker{i}.wav") for i in (1, 2)]
    given = [x + 0.05 * x.std() * rng.standard_normal(len(x)) for x in true]
    for i, x in zip((2, 1), given, strict=True):  # in the other order
        soundfile.write(apart / f"0000.speaker{i}.flac", x / 32768, 16000, "PCM_24")
    soundfile.write(apart / "0001.speaker1.wav", true[0] / 32768, 16000)
    evaluation = evaluate_speakers(mixed / "voices", apart, mixed / "mixture")
    assert [s.estimate.name for s in evaluation.scores] == [
        "0000.speaker2.flac",
        "0000.speaker1.flac",
    ]
    mixture = sum(true)
    for score, x, y in zip(evaluation.scores, true, given, strict=True):
        assert score.si_sdr == pytest.approx(si_sdr(x, y), abs=0.01)
        assert score.si_sdri == pytest.approx(score.si_sdr - si_sdr(x, mixture), abs=0.01)
    assert evaluation.means["si_sdr"].mean == pytest.approx(26, abs=0.5)
    assert [str(u.path) for u in evaluation.unscored] == ["0001"]
    words = ["evaluate", mixed / "voices", apart, "--speakers"]
    assert command(*words) == 1
    captured = capsys.readouterr()
    assert "0000.speaker2.flac" in captured.out
    assert "has 2 true voices and 1 estimates" in captured.err
    assert command(*words, "--json") == 1
    assert len(json.loads(capsys.readouterr().out)["scores"]) == 2


def write_voices(folder, **voices):
    folder.mkdir()
    for name, x in voices.items():
        soundfile.write(folder / f"a.{name}.wav", x, 16000, "FLOAT")


def test_a_silent_estimate_counts_and_is_told(tmp_path, capsys):
    rng = np.random.default_rng(0)
    one, two, noise = 0.1 * rng.standard_normal((3, 16000))
    write_voices(tmp_path / "true", speaker1=one, speaker2=two)
    write_voices(tmp_path / "made", speaker1=np.zeros(16000), speaker2=one + 0.1 * noise)
    (tmp_path / "mixture").mkdir()
    soundfile.write(tmp_path / "mixture" / "a.wav", one + two, 16000, "FLOAT")
    evaluation = evaluate_speakers(*(tmp_path / x for x in ("true", "made", "mixture")))
    assert not evaluation.unscored
    assert [score.silent for score in evaluation.scores] == [False, True]
    assert evaluation.scores[0].si_sdr == pytest.approx(20, abs=0.3)
    assert evaluation.scores[1].si_sdr == -30
    assert evaluation.scores[1].si_sdri == pytest.approx(-30 - si_sdr(two, one + two), abs=0.01)
    assert evaluation.means["si_sdr"].mean == pytest.approx(-5, abs=0.2)
    assert evaluation.means["si_sdr"].count == 2
    words = ["evaluate", tmp_path / "true", tmp_path / "made", "--speakers"]
    assert command(*words) == 0
    assert "1 silent, each counted as -30 dB" in " ".join(capsys.readouterr().out.split())
    assert command(*words, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["silent"], report["scores"][1]["silent"]) == (1, True)


def test_matched_voices_are_scored_by_further_metrics(tmp_path, capsys):
    rng = np.random.default_rng(0)
    one, two, noise = 0.1 * rng.standard_normal((3, 32000))
    write_voices(tmp_path / "true", speaker1=one, speaker2=two)
    write_voices(tmp_path / "made", speaker1=two + 0.3 * noise, speaker2=one + 0.1 * noise)
    soundfile.write(tmp_path / "true" / "b.speaker1.wav", one[:4000], 16000, "FLOAT")
    soundfile.write(tmp_path / "made" / "b.speaker1.wav", one[:4000] + noise[:4000], 16000, "FLOAT")
    done = []
    folders = tmp_path / "true", tmp_path / "made"
    evaluation = evaluate_speakers(
        *folders, metrics=["stoi", "si_sdr"], on_recording=lambda: done.append(1)
    )
    assert len(done) == 2
    expected = [stoi(x, x + level * noise, 16000) for x, level in ((one, 0.1), (two, 0.3))]
    found = [score.further["stoi"] for score in evaluation.scores[:2]]
    assert found == pytest.approx(expected, abs=1e-4)
    assert evaluation.scores[2].skipped == {"stoi": "shorter than 0.4 s"}
    assert evaluation.means["stoi"].mean == pytest.approx(np.mean(expected), abs=1e-4)
    assert (evaluation.means["stoi"].count, evaluation.means["si_sdr"].count) == (2, 3)
    words = ["--speakers", "--metric", "stoi", "--metric", "dnsmos"]
    assert command("evaluate", *folders, *words) == 0
    captured = capsys.readouterr()
    heads = next(line.split() for line in captured.out.splitlines() if "si_sdri" in line)
    assert heads[-5:] == ["stoi", "dnsmos", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808"]
    assert "no stoi of" in captured.err
    assert "b.speaker1.wav: shorter than 0.4 s" in captured.err


def test_voices_that_take_turns_are_scored(tmp_path):
    x = 0.1 * np.random.default_rng(0).standard_normal(16000)
    first, last = x * (np.arange(16000) < 8000), x * (np.arange(16000) >= 8000)
    write_voices(tmp_path / "true", speaker1=first, speaker2=last)
    write_voices(tmp_path / "made", speaker1=last + 0.01 * last**2, speaker2=first)
    soundfile.write(tmp_path / "made" / "a.speaker2.wav", first + 0.01 * first**2, 16000, "FLOAT")
    evaluation = evaluate_speakers(tmp_path / "true", tmp_path / "made")
    assert [score.estimate.name for score in evaluation.scores] == [
        "a.speaker2.wav",
        "a.speaker1.wav",
    ]
    assert all(score.si_sdr > 30 and not score.silent for score in evaluation.scores)


def test_a_silent_true_voice_cannot_be_scored(tmp_path):
    x = 0.1 * np.random.default_rng(0).standard_normal(16000)
    write_voices(tmp_path / "true", speaker1=x, speaker2=np.zeros(16000))
    write_voices(tmp_path / "made", speaker1=x + x**2, speaker2=np.zeros(16000))
    evaluation = evaluate_speakers(tmp_path / "true", tmp_path / "made")
    assert [u.reason for u in evaluation.unscored] == ["the reference is silent"]


def test_an_estimate_that_was_cut_is_noted(tmp_path, capsys):
    one, two, noise = 0.1 * np.random.default_rng(0).standard_normal((3, 16000))
    write_voices(tmp_path / "true", speaker1=one, speaker2=two)
    write_voices(tmp_path / "made", speaker1=two + noise, speaker2=(one + noise)[:12000])
    evaluation = evaluate_speakers(tmp_path / "true", tmp_path / "made")
    assert [score.notes for score in evaluation.scores] == [
        ("4000 samples (0.250 s) shorter than the reference: the first 0.750 s are compared",),
        (),
    ]
    words = ["evaluate", tmp_path / "true", tmp_path / "made", "--speakers"]
    assert command(*words) == 0
    assert "a.speaker2.wav: 4000 samples (0.250 s) shorter" in capsys.readouterr().err
    assert command(*words, "--json") == 0
    assert "shorter" in json.loads(capsys.readouterr().out)["scores"][0]["notes"][0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mixture", "x"], "--mixture is for --speakers"),
        (["--speakers", "--metric", "loudness"], "unknown metric loudness; choose of si_sdr"),
        (["--speakers"], "holds no voices"),
    ],
)
def test_a_wrong_call_is_one_line(tmp_path, capsys, words, message):
    (tmp_path / "a").mkdir()
    assert command("evaluate", tmp_path / "a", tmp_path / "a", *words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
