"""Resampling that gives the same samples whether the audio comes whole or in blocks."""

import numpy as np
import soxr
from numpy.typing import NDArray

Audio = NDArray[np.float32]


def resampled_length(frames: int, rate_in: int, rate_out: int) -> int:
    """Number of samples that `frames` samples at `rate_in` become at `rate_out`: rounded up."""
    return -(-frames * rate_out // rate_in)


class StreamResampler:
    """Resample blocks of audio as they come, aligned in time and of an exact total length.

    The total length is always `resampled_length(n, ...)` and sample 0 of the output is at the same
    instant as sample 0 of the input. Equal rates pass blocks through.

    Args:
        rate_in: samples a second of the blocks pushed.
        rate_out: samples a second of the blocks returned.
        channels: channels of every block.

    Raises:
        ValueError: a rate or the number of channels is below one.
    """

    def __init__(self, rate_in: int, rate_out: int, channels: int) -> None:
        if min(rate_in, rate_out, channels) < 1:
            raise ValueError(
                f"rates and channels must be at least 1, not {rate_in}, {rate_out}, {channels}"
            )
        self.rate_in, self.rate_out, self.channels = rate_in, rate_out, channels
        self._taken = 0
        self._given = 0
        self._identity = rate_in == rate_out
        self._stream: soxr.ResampleStream | None = None
        if rate_in != rate_out:
            self._stream = soxr.ResampleStream(
                rate_in, rate_out, channels, dtype="float32", quality="VHQ"
            )

    def push(self, block: Audio) -> Audio:
        """Take a block (C, n) of any length, 0 included, and return what is ready, (C, m).

        Raises:
            ValueError: the block does not have `channels` rows.
        """
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"a block must be ({self.channels}, n), not {block.shape}")
        self._taken += block.shape[1]
        if self._identity:
            return np.asarray(block, dtype=np.float32)
        if block.shape[1] == 0:
            return np.zeros((self.channels, 0), np.float32)
        return self._give(self._run(block, last=False))

    def flush(self) -> Audio:
        """End the stream and return the rest, (C, m). The resampler is spent afterwards."""
        if self._identity or self._taken == 0:
            return np.zeros((self.channels, 0), np.float32)
        # soxr rounds the total to nearest; silence after the end makes the last sample real.
        silence = np.zeros((self.channels, self.rate_in // self.rate_out + 2), np.float32)
        rest = self._give(self._run(silence, last=True))
        self._stream = None
        return rest

    def _run(self, block: Audio, last: bool) -> Audio:
        if self._stream is None:
            raise ValueError("this resampler was flushed; make a new one")
        frames = np.ascontiguousarray(block.T, dtype=np.float32)  # (n, C)
        if self.channels == 1:
            frames = frames[:, 0]
        out = self._stream.resample_chunk(frames, last=last)
        return np.ascontiguousarray(out.reshape(-1, self.channels).T)

    def _give(self, block: Audio) -> Audio:
        total = resampled_length(self._taken, self.rate_in, self.rate_out)
        block = block[:, : max(0, total - self._given)]
        self._given += block.shape[1]
        return block


def resample(audio: Audio, rate_in: int, rate_out: int) -> Audio:
    """Resample whole audio (T,) or (C, T); the length becomes `resampled_length(T, ...)`.

    Source: the soxr library; the same samples as `StreamResampler` fed in blocks.
    """
    audio = np.asarray(audio, dtype=np.float32)
    channels = audio[None] if audio.ndim == 1 else audio
    stream = StreamResampler(rate_in, rate_out, channels.shape[0])
    out = np.concatenate([stream.push(channels), stream.flush()], axis=1)
    return out[0] if audio.ndim == 1 else out
