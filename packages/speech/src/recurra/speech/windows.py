"""Long recordings in overlapping windows, in flat memory, joined by cross-fades."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

import numpy as np

from recurra.core.workers import Workers, result_of

Array = np.ndarray
# Puts the rows of a window in order: takes the overlap (D, overlap) as the window before has it,
# None for the first, and the window (D, n); gives the window.
Arrange = Callable[[Array | None, Array], Array]
_CONTEXT = 0.4  # share of the overlap at each end of a window that is computed but not heard


def run_windows(
    blocks: Iterable[Array],
    run: Callable[[Array], Array],
    *,
    window: int,
    overlap: int,
    jobs: int = 1,
    batch: int = 1,
    arrange: Arrange | None = None,
) -> Iterator[Array]:
    """Run a function on overlapping windows of a stream and join what it gives.

    Windows start every `window - overlap` samples. In an overlap the earlier window is heard first;
    the two cross-fade linearly in the middle fifth. A stream that fits one window is run whole. The
    windows are the same for any `jobs` and `batch`.

    Args:
        blocks: arrays (C, n) that follow each other, any n.
        run: maps windows (B, C, n) to (B, D, n), n <= window; called from `jobs` threads.
        window: samples a window, more than twice the overlap.
        overlap: samples that consecutive windows share.
        jobs: batches in work at once.
        batch: B at most; the last window, where it is shorter, is alone in its batch.
        arrange: puts the rows of what `run` gave in order, window after window; see `Arrange`.

    Yields:
        arrays (D, n), together as long as the blocks.
    """
    if not 0 <= 2 * overlap < window:
        raise ValueError(f"an overlap of {overlap} needs windows over {2 * overlap}, not {window}")
    fade = _Fade(overlap)
    for pieces in _in_order(_batches(_cut(blocks, window, overlap), batch), run, jobs):
        for piece in pieces:
            yield from fade.join(piece if arrange is None else arrange(fade.overlap, piece))
    yield from fade.finish()


def _in_order(pieces: Iterable[Array], run: Callable[[Array], Array], jobs: int) -> Iterator[Array]:
    if jobs == 1:
        # In this thread, which Ctrl-C reaches, and with no piece waiting beside the one in work.
        yield from map(run, pieces)
        return
    with Workers(jobs) as workers:
        waiting: deque[Future[Array]] = deque()
        for piece in pieces:
            waiting.append(workers.submit(run, piece))
            if len(waiting) > jobs:
                yield result_of(waiting.popleft())
        while waiting:
            yield result_of(waiting.popleft())


def _batches(windows: Iterable[Array], size: int) -> Iterator[Array]:
    """Stack windows (C, n) that follow each other and are as long: (B, C, n), B at most `size`."""
    held: list[Array] = []
    for window in windows:
        if held and window.shape != held[0].shape:
            yield np.stack(held)
            held = []
        held.append(window)
        if len(held) == size:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)


def _cut(blocks: Iterable[Array], window: int, overlap: int) -> Iterator[Array]:
    """Cut a stream into windows; the last may be short, but is longer than the overlap."""
    kept: list[Array] = []
    length = 0
    first = True
    for block in blocks:
        kept.append(block)
        length += block.shape[1]
        while length > window:  # one sample more, so that the last window brings something new
            line = np.concatenate(kept, axis=1)
            yield line[:, :window]
            line = line[:, window - overlap :]
            kept, length, first = [line], line.shape[1], False
    if length > (0 if first else overlap):
        yield np.concatenate(kept, axis=1)


class _Fade:
    """Joins windows: holds back the overlap of the last one until the next comes."""

    def __init__(self, overlap: int) -> None:
        edge = int(overlap * _CONTEXT)
        ramp = (np.arange(overlap - 2 * edge, dtype=np.float32) + 0.5) / max(1, overlap - 2 * edge)
        self._rise = np.concatenate([np.zeros(edge, np.float32), ramp, np.ones(edge, np.float32)])
        self._overlap = overlap
        self._held: Array | None = None

    @property
    def overlap(self) -> Array | None:
        """The end of the window before, which the next one begins with; None before the first."""
        return None if self._held is None else self._held[:, self._held.shape[1] - self._overlap :]

    def join(self, piece: Array) -> Iterator[Array]:
        if self._held is not None:
            yield self._held[:, : -self._overlap or None]
            if self._overlap:
                last, first = self._held[:, -self._overlap :], piece[:, : self._overlap]
                yield last + (first - last) * self._rise
            piece = piece[:, self._overlap :]
            # What is left begins after the overlap; its own end is held for the next window.
        self._held = piece

    def finish(self) -> Iterator[Array]:
        if self._held is not None:
            yield self._held
