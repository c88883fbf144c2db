import contextlib
import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from recurra.core.errors import RecurraError
from recurra.speech.enhancer import Enhancer
from recurra.speech.live import PCM_FORMATS, clean_pipe, decode_pcm, encode_pcm
from recurra.speech.models.frcrn import Frcrn, FrcrnConfig

CONFIG = FrcrnConfig(
    win_length=64, hop_length=32, channels=(4, 8), order=5, n_unets=1, causal=True, level_db=None
)


def build():
    torch.manual_seed(0)
    return Frcrn(CONFIG).eval()


@pytest.fixture(scope="module")
def enhancer():
    return Enhancer(build())


def sound(channels, n):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (channels, n)).astype(np.float32)


class Dribble(io.RawIOBase):
    """A pipe that gives at most three bytes at a time."""

    def __init__(self, data):
        self._data = io.BytesIO(data)

    def read(self, size=-1):
        return self._data.read(min(size, 3))


def test_bytes_of_every_format_are_what_its_name_says():
    assert encode_pcm(np.array([[0.5, -1.0]]), "s16le")[0] == b"\x00\x40\x00\x80"
    assert encode_pcm(np.array([[0.5, -1.0]]), "s24le")[0] == b"\x00\x00\x40\x00\x00\x80"
    assert encode_pcm(np.array([[0.5]]), "s32le")[0] == b"\x00\x00\x00\x40"
    assert encode_pcm(np.array([[1.0]]), "f32le")[0] == b"\x00\x00\x80\x3f"
    assert encode_pcm(np.array([[0.25], [0.5]]), "s16le")[0] == b"\x00\x20\x00\x40"  # interleaved


@pytest.mark.parametrize("pcm", PCM_FORMATS)
def test_bytes_decoded_and_encoded_again_are_the_same(pcm):
    x = sound(2, 50)
    data, clipped = encode_pcm(x, pcm)
    again = decode_pcm(data, pcm, 2)
    np.testing.assert_allclose(again, x, atol=2**-15)
    assert encode_pcm(again, pcm)[0] == data
    assert clipped == 0


@pytest.mark.parametrize("pcm", ["s16le", "s24le", "s32le"])
def test_what_is_over_full_scale_is_clipped_and_counted(pcm):
    data, clipped = encode_pcm(np.array([[1.0, -1.0, 1.5, -7.0]]), pcm)
    low, high = decode_pcm(data, pcm, 1)[0, [3, 2]]
    assert low == -1
    assert high == pytest.approx(1, abs=2**-14)
    assert clipped == 3  # +1.0 is one step over the largest integer


@pytest.mark.parametrize("channels", [1, 2])
def test_a_pipe_gives_what_enhancing_the_whole_gives(enhancer, channels):
    x = sound(channels, 500)
    sink, lines = io.BytesIO(), []
    report = clean_pipe(
        enhancer,
        Dribble(encode_pcm(x, "f32le")[0]),
        sink,
        sample_rate=16000,
        channels=channels,
        pcm="f32le",
        tell=lines.append,
    )
    cleaned = decode_pcm(sink.getvalue(), "f32le", channels)
    np.testing.assert_allclose(cleaned, enhancer(x, 16000), atol=1e-5)
    assert (report.samples, report.ended, report.dropped_bytes) == (500, "end", 0)
    assert lines == ["latency 4 ms (64 samples)"]


def test_a_sample_cut_off_at_the_end_is_dropped_and_told(enhancer):
    sink = io.BytesIO()
    report = clean_pipe(enhancer, io.BytesIO(bytes(7)), sink, sample_rate=16000, channels=2)
    assert sink.getvalue() == bytes(4)
    assert report.dropped_bytes == 3


def test_an_empty_pipe_gives_an_empty_pipe(enhancer):
    sink = io.BytesIO()
    assert clean_pipe(enhancer, io.BytesIO(), sink, sample_rate=44100).samples == 0
    assert sink.getvalue() == b""


def test_a_reader_that_goes_away_ends_the_work_quietly(enhancer):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as sink:
        report = clean_pipe(enhancer, io.BytesIO(bytes(4000)), sink, sample_rate=16000)
    assert report.ended == "closed"


class Interrupted(io.RawIOBase):
    """A stream whose `read` at the end, or whose `write`, is hit by a Ctrl-C."""

    def __init__(self, data=b""):
        self._data = io.BytesIO(data)
        self.written = b""

    def read(self, size=-1):
        data = self._data.read(size)
        if not data:
            os.kill(os.getpid(), signal.SIGINT)
        return data

    def write(self, data):
        os.kill(os.getpid(), signal.SIGINT)
        self.written += data
        return len(data)


def test_ctrl_c_while_waiting_writes_the_rest_and_ends(enhancer):
    sink = io.BytesIO()
    report = clean_pipe(enhancer, Interrupted(bytes(200)), sink, sample_rate=16000)
    assert report.ended == "interrupted"
    assert sink.getvalue() == bytes(200)


def test_ctrl_c_while_writing_finishes_the_block_and_the_stream(enhancer):
    sink = Interrupted()
    before = signal.getsignal(signal.SIGINT)
    report = clean_pipe(enhancer, io.BytesIO(bytes(4000)), _Once(sink), sample_rate=16000)
    assert report.ended == "interrupted"
    assert report.samples == len(sink.written) // 2 == 160  # the first block of 10 ms
    assert signal.getsignal(signal.SIGINT) is before


class _Once:
    """Passes the first write on to a stream that interrupts, and the others past it."""

    def __init__(self, sink):
        self._sink = sink
        self._first = True

    def write(self, data):
        if self._first:
            self._first = False
            return self._sink.write(data)
        self._sink.written += data
        return len(data)

    def flush(self):
        self._sink.flush()


def test_bad_requests_are_one_line_each(enhancer):
    with pytest.raises(RecurraError, match="s16le, s24le, s32le, f32le, not 'mp3'"):
        clean_pipe(enhancer, io.BytesIO(), io.BytesIO(), sample_rate=16000, pcm="mp3")
    with pytest.raises(RecurraError, match="at least 1"):
        clean_pipe(enhancer, io.BytesIO(), io.BytesIO(), sample_rate=0)
    broken = io.BytesIO(np.full(64, np.nan, "<f4").tobytes())
    with pytest.raises(RecurraError, match="not finite"):
        clean_pipe(enhancer, broken, io.BytesIO(), sample_rate=16000, pcm="f32le")


@pytest.mark.slow
def test_a_process_whose_reader_leaves_says_nothing_at_exit(tmp_path):
    build().save_pretrained(tmp_path / "model")
    code = (
        "import sys; from recurra.speech.enhancer import Enhancer; "
        "from recurra.speech.live import clean_pipe; "
        "e = Enhancer.from_pretrained(sys.argv[1]); "
        "r = clean_pipe(e, sys.stdin.buffer, sys.stdout.buffer, sample_rate=16000); "
        "print(r.ended, file=sys.stderr)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "model")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    errors = _feed(process)
    assert errors.decode().split() == ["closed"]
    assert process.returncode == 0


def _feed(process):
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(bytes(200000))
        process.stdin.close()
    errors = process.stderr.read()
    process.wait()
    return errors
