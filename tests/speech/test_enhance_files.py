"""`recurra-speech enhance` from end to end, with a tiny network, on files of many kinds."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from recurra.core.cli import run
from recurra.core.cli.inputs import FileInput
from recurra.core.errors import RecurraError
from recurra.speech.audio_files import choose_outputs
from recurra.speech.cli import app


@pytest.fixture
def enhance(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return run(app, "recurra-speech", ["enhance", *map(str, arguments), "--model", model])

    return call


def recording(path, rate=16000, channels=1, length=8000, subtype=None, scale=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    x = scale * np.random.default_rng(0).standard_normal((length, channels))
    soundfile.write(path, x, rate, subtype=subtype)
    return x


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 16000, 1, "PCM_16"),
        ("a.wav", 44100, 2, "PCM_24"),
        ("a.wav", 8000, 1, "PCM_U8"),
        ("a.flac", 48000, 3, "PCM_16"),
        ("a.ogg", 22050, 2, "VORBIS"),
        ("a.mp3", 32000, 1, "MPEG_LAYER_III"),
    ],
)
def test_the_result_has_the_inputs_length_rate_channels_and_subtype(
    enhance, tmp_path, name, rate, channels, subtype
):
    recording(tmp_path / name, rate, channels, 7777, subtype)
    assert enhance(name) == 0
    result = soundfile.info(tmp_path / name.replace(".", ".enhanced."))
    assert (result.samplerate, result.channels, result.subtype) == (rate, channels, subtype)
    before = soundfile.read(tmp_path / name)[0]
    after = soundfile.read(tmp_path / name.replace(".", ".enhanced."))[0]
    assert len(after) == len(before)
    assert not np.array_equal(after, before)


def test_nothing_is_overwritten_without_force_and_the_input_never(enhance, tmp_path, capsys):
    recording(tmp_path / "a.wav")
    (tmp_path / "a.enhanced.wav").write_text("mine")
    assert enhance("a.wav") == 2
    assert (tmp_path / "a.enhanced.wav").read_text() == "mine"
    assert "a.enhanced.wav" in capsys.readouterr().err
    assert enhance("a.wav", "--force") == 0
    before = (tmp_path / "a.wav").read_bytes()
    assert enhance("a.wav", "-o", "a.wav", "--force") == 2
    assert (tmp_path / "a.wav").read_bytes() == before


def test_a_folder_keeps_its_paths_and_bad_files_do_not_stop_the_others(enhance, tmp_path, capsys):
    recording(tmp_path / "in" / "a.wav")
    recording(tmp_path / "in" / "deep" / "b.flac")
    (tmp_path / "in" / "text.wav").write_text("not audio at all")
    (tmp_path / "in" / "empty.wav").touch()
    assert enhance("in", "-o", "out", "--json") == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["inputs"], report["done"], report["failed"]) == (4, 2, 2)
    assert "2 of 4 failed" in captured.err
    written = sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "out").rglob("*.*"))
    assert written == ["out/a.wav", "out/deep/b.flac"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_leave_nothing_behind(enhance, tmp_path, capsys, value):
    x = np.zeros(40000, np.float32)
    x[30000] = value
    soundfile.write(tmp_path / "a.wav", x, 16000, subtype="FLOAT")
    assert enhance("a.wav") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
    error = capsys.readouterr().err.strip()
    assert "a.wav" in error
    assert "1.875 s" in error
    assert "\n" not in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["gone.wav"],
        ["a.wav", "--band", "all"],
        ["a.wav", "-o", "b.wav", "--residual", "./b.wav", "--force"],
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(enhance, tmp_path, capsys, arguments):
    recording(tmp_path / "a.wav")
    assert enhance(*arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_the_residual_and_the_result_add_up_to_the_input(enhance, tmp_path):
    recording(tmp_path / "a.wav", 44100, 2, subtype="FLOAT")
    assert enhance("a.wav", "-o", "clean.wav", "--residual", "noise.wav") == 0
    parts = [soundfile.read(tmp_path / name)[0] for name in ("clean.wav", "noise.wav")]
    np.testing.assert_allclose(sum(parts), soundfile.read(tmp_path / "a.wav")[0], atol=1e-6)


def test_downmix_gives_one_channel(enhance, tmp_path):
    recording(tmp_path / "a.wav", channels=2)
    assert enhance("a.wav", "--downmix") == 0
    assert soundfile.info(tmp_path / "a.enhanced.wav").channels == 1


def test_a_pipe_in_is_a_pipe_out(model, tmp_path):
    recording(tmp_path / "a.wav", 22050, 2, 5000)
    command = [
        sys.executable,
        "-c",
        "from recurra.speech.cli import main; raise SystemExit(main())",
    ]
    result = subprocess.run(
        [*command, "enhance", "-", "--model", model],
        input=(tmp_path / "a.wav").read_bytes(),
        capture_output=True,
        check=True,
    )
    (tmp_path / "b.wav").write_bytes(result.stdout)
    after = soundfile.info(tmp_path / "b.wav")
    assert (after.samplerate, after.channels, after.frames) == (22050, 2, 5000)


def test_two_inputs_for_one_output_are_refused_before_any_work(tmp_path):
    one = FileInput(tmp_path / "x" / "a.wav", tmp_path.relative_to(tmp_path) / "a.wav")
    two = FileInput(tmp_path / "y" / "a.wav", tmp_path.relative_to(tmp_path) / "a.wav")
    with pytest.raises(RecurraError, match="would both be written"):
        choose_outputs([one, two], str(tmp_path / "out"), ".enhanced")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["a.wav", "b.wav", "-o", "o.wav"],
            "o.wav is the name of one file, and there are 2 inputs; "
            "give -o a folder, such as cleaned/",
        ),
        (
            ["a.wav", "b.wav", "-", "-o", "out"],
            "several inputs need a folder (out), and standard input has no name in it; "
            "give it alone, with -o FILE",
        ),
    ],
)
def test_several_inputs_need_a_folder(enhance, tmp_path, capsys, arguments, message):
    for name in ("a.wav", "b.wav"):
        recording(tmp_path / name, length=800)
    assert enhance(*arguments) == 2
    assert capsys.readouterr().err == f"recurra-speech: error: {message}\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav", "b.wav"]


def test_an_ending_that_no_format_has_is_refused_but_for_the_inputs_own(enhance, tmp_path, capsys):
    recording(tmp_path / "a.wav", length=800)
    assert enhance("a.wav", "-o", "clean.vaw") == 2
    assert "clean.vaw: .vaw is no audio or video format; name one" in capsys.readouterr().err
    assert not (tmp_path / "clean.vaw").exists()
    (tmp_path / "a.wav").rename(tmp_path / "a.dat")
    assert enhance("a.dat", "-o", "clean.dat") == 0
    assert soundfile.info(tmp_path / "clean.dat").format == "WAV"


def test_a_folder_may_be_called_like_a_file(enhance, tmp_path):
    (tmp_path / "there.wav").mkdir()
    for name in ("a.wav", "b.wav"):
        recording(tmp_path / name, length=800)
    assert enhance("a.wav", "b.wav", "-o", "there.wav") == 0
    assert enhance("a.wav", "b.wav", "-o", "new.wav/") == 0
    assert (tmp_path / "there.wav" / "b.wav").is_file()
    assert (tmp_path / "new.wav" / "b.wav").is_file()
