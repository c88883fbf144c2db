"""`recurra-speech separate` from end to end, with a tiny network, on files of many kinds."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from tests.speech.models.mossformer2_vectors import SMALL_SS

from recurra.core.cli import run
from recurra.core.cli.inputs import FileInput
from recurra.core.errors import RecurraError
from recurra.speech.cli import app
from recurra.speech.models.mossformer2_ss import MossFormer2Ss
from recurra.speech.separate_files import choose_outputs
from recurra.speech.separator import Separator

TINY = replace(SMALL_SS, stack=replace(SMALL_SS.stack, n_blocks=1, group=256))


@pytest.fixture(scope="module")
def separating_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-separator"
    torch.manual_seed(0)
    MossFormer2Ss(TINY).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def separate(separating_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        words = ["separate", *map(str, arguments), "--model", separating_model]
        return run(app, "recurra-speech", words)

    return call


@pytest.fixture
def second_voice_is_a_thousandth(monkeypatch):
    def network(self, x):  # windows (B, C, n) to (B, 2 * C, n)
        return torch.cat([x, 1e-3 * x.flip(2)], dim=1)

    monkeypatch.setattr(Separator, "_clean", network)


def recording(path, rate=16000, channels=1, length=8000, subtype=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    x = 0.1 * np.random.default_rng(0).standard_normal((length, channels))
    soundfile.write(path, x, rate, subtype=subtype)


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 16000, 1, "PCM_16"),
        ("a.wav", 44100, 2, "PCM_24"),
        ("a.wav", 8000, 1, "PCM_U8"),
        ("a.flac", 48000, 3, "PCM_16"),
        ("a.ogg", 22050, 2, "VORBIS"),
    ],
)
def test_each_speaker_has_the_inputs_length_rate_channels_and_subtype(
    separate, tmp_path, name, rate, channels, subtype
):
    recording(tmp_path / name, rate, channels, 7777, subtype)
    assert separate(name, "--speakers", 2) == 0
    before = soundfile.read(tmp_path / name)[0]
    for speaker in (1, 2):
        path = tmp_path / name.replace(".", f".speaker{speaker}.")
        result = soundfile.info(path)
        assert (result.samplerate, result.channels, result.subtype) == (rate, channels, subtype)
        assert len(soundfile.read(path)[0]) == len(before)


def test_nothing_is_overwritten_without_force_and_nothing_half_is_left(separate, tmp_path, capsys):
    recording(tmp_path / "a.wav")
    (tmp_path / "a.speaker2.wav").write_text("mine")
    before = (tmp_path / "a.wav").read_bytes()
    assert separate("a.wav") == 2
    assert "a.speaker2.wav" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.speaker2.wav", "a.wav"]
    assert (tmp_path / "a.speaker2.wav").read_text() == "mine"
    assert separate("a.wav", "--force") == 0
    assert soundfile.info(tmp_path / "a.speaker2.wav").frames == 8000
    assert (tmp_path / "a.wav").read_bytes() == before


def test_a_folder_keeps_its_paths_and_results_are_no_inputs(separate, tmp_path, capsys):
    recording(tmp_path / "in" / "a.wav")
    recording(tmp_path / "in" / "deep" / "b.flac")
    recording(tmp_path / "in" / "old.speaker1.wav")
    (tmp_path / "in" / "text.wav").write_text("not audio at all")
    assert separate("in", "-o", "out", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["inputs"], report["done"], report["failed"]) == (3, 2, 1)
    written = sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "out").rglob("*.*"))
    assert written == [
        "out/a.speaker1.wav",
        "out/a.speaker2.wav",
        "out/deep/b.speaker1.flac",
        "out/deep/b.speaker2.flac",
    ]


def test_samples_that_are_not_finite_leave_nothing_behind(separate, tmp_path, capsys):
    x = np.zeros(40000, np.float32)
    x[30000] = np.nan
    soundfile.write(tmp_path / "a.wav", x, 16000, subtype="FLOAT")
    assert separate("a.wav") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
    assert "1.875 s" in capsys.readouterr().err


@pytest.mark.usefixtures("second_voice_is_a_thousandth")
def test_a_speaker_who_is_not_there_is_named_and_silent(separate, tmp_path, capsys):
    recording(tmp_path / "a.wav", length=40000)
    assert separate("a.wav", "--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)["results"][0]
    assert result["details"]["inactive"] == [2]
    assert "speaker 2 is not there (60 dB under the recording)" in captured.err
    first, second = (soundfile.read(tmp_path / f"a.speaker{i}.wav")[0] for i in (1, 2))
    assert first.any()
    assert len(second) == 40000
    assert not second.any()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.speaker1.wav",
        "a.speaker2.wav",
        "a.wav",
    ]


def test_the_loudest_speaker_is_there_however_little_a_model_leaves(
    separate, tmp_path, capsys, monkeypatch
):
    def network(self, x):  # 66 and 60 dB under the recording
        return torch.cat([5e-4 * x, 1e-3 * x.flip(2)], dim=1)

    monkeypatch.setattr(Separator, "_clean", network)
    recording(tmp_path / "a.wav", length=40000, subtype="FLOAT")
    assert separate("a.wav", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["results"][0]["details"]["inactive"] == [1]
    assert "speaker 2" not in captured.err
    assert soundfile.read(tmp_path / "a.speaker2.wav")[0].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.wav"], "gone.wav"),
        (["a.wav", "--band", "all"], "'keep' or 'model'"),
        (["a.wav", "--speakers", "3"], "takes 2 voices apart, not 3"),
        (["-"], "a pipe cannot carry a file for each speaker; --output multichannel"),
        (["a.wav", "-o", "-"], "a pipe cannot carry"),
        (["a.wav", "--output", "apart/"], "'files' or 'multichannel', not 'apart/'"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(separate, tmp_path, capsys, arguments, message):
    recording(tmp_path / "a.wav")
    assert separate(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize("channels", [1, 2])
def test_multichannel_is_one_file_with_the_samples_of_the_files(separate, tmp_path, channels):
    recording(tmp_path / "a.wav", 22050, channels, subtype="FLOAT")
    assert separate("a.wav") == 0
    assert separate("a.wav", "--output", "multichannel") == 0
    together, rate = soundfile.read(tmp_path / "a.speakers.wav", always_2d=True)
    alone = [soundfile.read(tmp_path / f"a.speaker{i}.wav", always_2d=True)[0] for i in range(1, 3)]
    assert rate == 22050
    assert np.array_equal(together, np.concatenate(alone, axis=1))
    assert separate("a.wav", "--output", "multichannel", "-o", "voices.flac") == 0
    assert soundfile.info(tmp_path / "voices.flac").channels == 2 * channels


def test_multichannel_files_of_a_folder_are_no_inputs_again(separate, tmp_path):
    recording(tmp_path / "in" / "a.wav")
    for _ in range(2):
        assert separate("in", "--output", "multichannel", "--force") == 0
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == ["a.speakers.wav", "a.wav"]


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["in/a.wav"], {"a.speakers.wav"}),
        (["in/a.wav", "in/deep/b.wav"], {"a.speakers.wav", "b.speakers.wav"}),
        (["in"], {"a.speakers.wav", "deep/b.speakers.wav"}),
    ],
)
def test_multichannel_files_have_their_mark_in_a_folder_too(separate, tmp_path, inputs, names):
    recording(tmp_path / "in" / "a.wav")
    recording(tmp_path / "in" / "deep" / "b.wav")
    assert separate(*inputs, "--output", "multichannel", "-o", "out/") == 0
    assert {
        str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.wav")
    } == names


def test_a_pipe_carries_all_voices_as_channels(separate, tmp_path, monkeypatch, capfdbinary):
    recording(tmp_path / "a.wav")
    with open(tmp_path / "a.wav", "rb") as piped:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(piped))
        assert separate("-", "--output", "multichannel") == 0
    (tmp_path / "piped.wav").write_bytes(capfdbinary.readouterr().out)
    assert separate("a.wav", "--output", "multichannel") == 0
    piped, named = (soundfile.read(tmp_path / f"{x}.wav")[0] for x in ("piped", "a.speakers"))
    assert piped.shape == (8000, 2)
    assert np.array_equal(piped, named)


@pytest.mark.usefixtures("second_voice_is_a_thousandth")
def test_the_channels_of_a_speaker_who_is_not_there_are_silent(separate, tmp_path):
    recording(tmp_path / "a.wav", channels=2, length=40000)
    assert separate("a.wav", "--output", "multichannel") == 0
    together = soundfile.read(tmp_path / "a.speakers.wav")[0]
    assert together[:, :2].any(axis=0).all()
    assert not together[:, 2:].any()


def test_more_channels_than_a_format_holds_are_one_line(separate, tmp_path, capsys):
    recording(tmp_path / "a.wav", channels=2)
    assert separate("a.wav", "--output", "multichannel", "-o", "a.mp3") == 2
    assert "a.mp3" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_downmix_gives_one_channel(separate, tmp_path):
    recording(tmp_path / "a.wav", channels=2)
    assert separate("a.wav", "--downmix") == 0
    assert soundfile.info(tmp_path / "a.speaker1.wav").channels == 1


def test_two_inputs_for_one_output_are_refused_before_any_work(tmp_path):
    entries = [
        FileInput(tmp_path / d / "a.wav", tmp_path.relative_to(tmp_path) / "a.wav") for d in "xy"
    ]
    with pytest.raises(RecurraError, match="would both be written"):
        choose_outputs(entries, str(tmp_path / "out"), 2, "files")


def test_a_model_that_cleans_is_refused(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "a.wav")
    assert run(app, "recurra-speech", ["separate", "a.wav", "--model", model]) == 2
    assert "kind frcrn" in capsys.readouterr().err


def test_the_files_of_speakers_need_a_folder(tmp_path):
    entry = FileInput(tmp_path / "a.wav", tmp_path.relative_to(tmp_path) / "a.wav")
    with pytest.raises(RecurraError, match=r"o\.wav is the name of one file.*give -o a folder"):
        choose_outputs([entry], "o.wav", 2, "files")
