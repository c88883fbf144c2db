"""Clean sound live: raw PCM from stdin to stdout."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np

from recurra.core.errors import RecurraError
from recurra.core.interruption import Interrupted, Interruption
from recurra.speech.enhancer import Enhancer
from recurra.speech.stream import EnhancerStream

_BLOCK_SECONDS = 0.01
# What one step of an integer format is worth: full scale is 1.
_STEPS = {"s16le": 1 << 15, "s24le": 1 << 23, "s32le": 1 << 31}
_WIDTHS = {"s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4}
PCM_FORMATS = tuple(_WIDTHS)


@dataclass(frozen=True)
class LiveReport:
    """How a live run went.

    Attributes:
        samples: of each channel that were cleaned.
        latency_seconds: of the stream, without what a device adds.
        clipped: samples over full scale that were clipped, never wrapped.
        ended: "end" of the input, "interrupted" by a signal, or "closed" by who read the output.
        dropped_bytes: at the end of the input, less than one sample of every channel.
        glitches: blocks that a device reported as lost or late.
    """

    samples: int
    latency_seconds: float
    clipped: int = 0
    ended: Literal["end", "interrupted", "closed"] = "end"
    dropped_bytes: int = 0
    glitches: int = 0


def decode_pcm(data: bytes, pcm: str, channels: int) -> np.ndarray:
    """Turn whole interleaved samples into float32 (C, n) in [-1, 1)."""
    if pcm == "f32le":
        return np.frombuffer(data, "<f4").reshape(-1, channels).T.astype(np.float32)
    if pcm == "s24le":
        # Each three bytes become the upper three of four, which also carries the sign.
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        samples = wide.view("<i4").reshape(-1, channels) >> 8
    else:
        samples = np.frombuffer(data, f"<i{_WIDTHS[pcm]}").reshape(-1, channels)
    return (samples.T / np.float64(_STEPS[pcm])).astype(np.float32)


def encode_pcm(audio: np.ndarray, pcm: str) -> tuple[bytes, int]:
    """Turn (C, n) into interleaved, clipped samples; returns bytes and how many were clipped."""
    interleaved = np.ascontiguousarray(audio.T)
    if pcm == "f32le":  # holds what is over full scale
        return interleaved.astype("<f4").tobytes(), 0
    step = _STEPS[pcm]
    scaled = np.rint(interleaved.astype(np.float64) * step)
    clipped = int(np.count_nonzero((scaled < -step) | (scaled > step - 1)))
    samples = np.clip(scaled, -step, step - 1).astype("<i4")
    if pcm == "s24le":
        return samples.reshape(-1, 1).view(np.uint8)[:, :3].tobytes(), clipped
    return samples.astype(f"<i{_WIDTHS[pcm]}").tobytes(), clipped


def clean_pipe(
    enhancer: Enhancer,
    source: BinaryIO,
    sink: BinaryIO,
    *,
    sample_rate: int,
    channels: int = 1,
    pcm: str = "s16le",
    tell: Callable[[str], None] = lambda line: None,
) -> LiveReport:
    """Clean raw interleaved PCM from `source` to `sink` as it comes, until the input ends.

    Whatever has arrived is cleaned and passed on at once. After the end of the input, Ctrl-C or
    SIGTERM the rest of the stream is written, so that the output is as long as the input; a reader
    that goes away ends the work quietly.

    Args:
        enhancer: of a causal model.
        source: binary stream, such as `sys.stdin.buffer`.
        sink: binary stream, such as `sys.stdout.buffer`.
        sample_rate: of both, in Hz.
        channels: of both, interleaved.
        pcm: of both; one of `PCM_FORMATS`.
        tell: takes a line for a person, such as the latency.

    Raises:
        RecurraError: an unknown format, a bad rate, a model that is not causal, samples that are
            not finite.
    """
    if pcm not in _WIDTHS:
        raise RecurraError(f"the format is one of {', '.join(PCM_FORMATS)}, not {pcm!r}")
    stream = open_stream(enhancer, sample_rate, channels)
    tell(f"latency {1000 * stream.latency_seconds:.0f} ms ({stream.latency} samples)")
    reader = _Reader(source, _WIDTHS[pcm] * channels, max(1, round(_BLOCK_SECONDS * sample_rate)))
    samples = clipped = 0
    ended: Literal["end", "interrupted", "closed"] = "end"

    def write(audio: np.ndarray) -> None:
        nonlocal samples, clipped
        data, over = encode_pcm(audio, pcm)
        sink.write(data)
        sink.flush()
        samples, clipped = samples + audio.shape[1], clipped + over

    try:
        with Interruption() as stop:
            for data in reader.blocks(stop):
                write(stream.push(decode_pcm(data, pcm, channels)))
            write(stream.flush())
        ended = "interrupted" if stop.wanted else "end"
    except BrokenPipeError:
        ended = "closed"
        _abandon(sink)
    return LiveReport(samples, stream.latency_seconds, clipped, ended, reader.left_over)


def open_stream(enhancer: Enhancer, sample_rate: int, channels: int) -> EnhancerStream:
    """Open a stream for a rate and a number of channels that a person gave.

    Raises:
        RecurraError: one of them is below one, or the model cannot run live.
    """
    if sample_rate < 1 or channels < 1:
        raise RecurraError(
            f"the rate and the channels are at least 1, not {sample_rate} and {channels}"
        )
    return enhancer.stream(sample_rate, channels)


class _Reader:
    """Cuts what a pipe gives into whole samples, without waiting for more than there is."""

    def __init__(self, source: BinaryIO, frame_bytes: int, block: int) -> None:
        # `read1` returns what has arrived; a raw stream's `read` does so too.
        self._read = getattr(source, "read1", source.read)
        self._frame_bytes = frame_bytes
        self._size = frame_bytes * block
        self.left_over = 0

    def blocks(self, stop: Interruption) -> Iterator[bytes]:
        rest = b""
        while True:
            try:
                # Waiting for input is given up at once; a block that has come is passed on first.
                with stop.at_once():
                    data = self._read(self._size)
            except Interrupted:
                break
            if not data:
                break
            data = rest + data
            whole = len(data) - len(data) % self._frame_bytes
            rest = data[whole:]
            if whole:
                yield data[:whole]
        self.left_over = len(rest)


def _abandon(sink: BinaryIO) -> None:
    # Python flushes stdout once more at exit and would complain about the same pipe again.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sink.fileno())
