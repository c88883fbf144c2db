"""A file appears whole or not at all, and nothing is ever overwritten unasked."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recurra.speech.audio import AudioError, AudioFormat, check_can_write, create_audio, read_audio

WAV = AudioFormat("WAV", "PCM_16")
M4A = AudioFormat("ipod", "fltp", codec="aac")
TONE = np.sin(np.arange(5000, dtype=np.float32) / 20)[None] * np.float32(0.3)
BOTH = pytest.mark.parametrize(("name", "like"), [("a.wav", WAV), ("a.m4a", M4A), ("a.mp3", WAV)])


@BOTH
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_goes_wrong_inside_leaves_nothing_behind(tmp_path, name, like, error):
    def fail() -> None:
        with create_audio(tmp_path / name, like, 16000, 1) as sink:
            sink.write(TONE)
            assert len(list(tmp_path.iterdir())) == 1
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_the_name_appears_only_when_the_file_is_complete(tmp_path, name, like):
    with create_audio(tmp_path / name, like, 16000, 1) as sink:
        sink.write(TONE)
        assert not (tmp_path / name).exists()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert read_audio(tmp_path / name)[0].shape == TONE.shape


@BOTH
def test_a_file_that_is_there_is_kept_unless_asked(tmp_path, name, like):
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(AudioError, match="exists"):
        create_audio(tmp_path / name, like, 16000, 1)
    assert (tmp_path / name).read_bytes() == b"precious"
    with create_audio(tmp_path / name, like, 16000, 1, overwrite=True) as sink:
        sink.write(TONE)
        assert (tmp_path / name).read_bytes() == b"precious"
    assert read_audio(tmp_path / name)[0].shape == TONE.shape


def test_a_file_that_comes_up_meanwhile_is_kept(tmp_path):
    sink = create_audio(tmp_path / "a.wav", WAV, 16000, 1)
    sink.write(TONE)
    (tmp_path / "a.wav").write_bytes(b"precious")
    with pytest.raises(AudioError, match="exists"):
        sink.close()
    assert (tmp_path / "a.wav").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_the_input_is_never_overwritten_under_any_name(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"precious")
    (tmp_path / "link.wav").symlink_to("a.wav")
    for name in ("a.wav", "link.wav"):
        with pytest.raises(AudioError, match="the input itself"):
            check_can_write(tmp_path / name, WAV, 16000, 1, True, tmp_path / "a.wav")


def test_nan_is_never_written(tmp_path):
    with (
        pytest.raises(AudioError, match="NaN"),
        create_audio(tmp_path / "a.wav", WAV, 8000, 1) as s,
    ):
        s.write(np.full((1, 10), np.nan, np.float32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "like"), [("a.wav", WAV), ("a.flac", WAV), ("a.m4a", M4A)])
def test_a_file_that_cannot_grow_is_one_line_and_leaves_nothing(tmp_path, name, like):
    script = (
        "import resource, signal, sys\n"
        "import numpy as np\n"
        "from recurra.speech.audio import AudioError, AudioFormat, create_audio\n"
        f"like = {like!r}\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "noise = np.random.default_rng(0).uniform(-.5, .5, (1, 50000)).astype('f4')\n"
        "try:\n"
        "    with create_audio(sys.argv[1], like, 16000, 1) as sink:\n"
        "        for _ in range(20): sink.write(noise)\n"
        "except AudioError as error: print(error)\n"
    )
    path = tmp_path / name
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: cannot be written: ")
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_full_device_is_said_in_one_line():
    if not Path("/dev/full").exists():
        return
    with (
        pytest.raises(AudioError, match="no space left on the disk"),
        create_audio("/dev/full", WAV, 16000, 1) as sink,
    ):
        sink.write(TONE)


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    with create_audio(tmp_path / "a.wav", WAV, 16000, 1) as sink:
        sink.write(TONE)
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "b").stat().st_mode


@BOTH
def test_a_stream_gets_the_whole_finished_file(tmp_path, name, like):
    like = check_can_write(tmp_path / name, like, 16000, 1)
    out = io.BytesIO()
    with create_audio(out, like, 16000, 1) as sink:
        sink.write(TONE)
        assert out.getvalue() == b""
    (tmp_path / name).write_bytes(out.getvalue())
    assert read_audio(tmp_path / name)[0].shape == TONE.shape


def test_a_failed_stream_gets_nothing():
    out = io.BytesIO()

    def fail() -> None:
        with create_audio(out, WAV, 16000, 1) as sink:
            sink.write(TONE)
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert out.getvalue() == b""


def test_a_device_is_written_to_and_stays_a_device():
    with create_audio(os.devnull, WAV, 16000, 1) as sink:
        sink.write(TONE)
    assert not Path(os.devnull).is_file()


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "real.wav").write_bytes(b"")
    (tmp_path / "link.wav").symlink_to("real.wav")
    with create_audio(tmp_path / "link.wav", WAV, 16000, 1, overwrite=True) as sink:
        sink.write(TONE)
    assert (tmp_path / "link.wav").is_symlink()
    assert read_audio(tmp_path / "real.wav")[0].shape == TONE.shape
