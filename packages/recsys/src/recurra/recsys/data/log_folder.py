"""A log that may be larger than memory: a folder of arrays that are used where they lie."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from recurra.core.errors import RecurraError
from recurra.recsys.data.interactions import Interactions
from recurra.recsys.data.log_rows import LogColumns, LogReport, LogRows
from recurra.recsys.data.numbering import IdTable, core_members, number_by_count

ABOUT, USERS, ITEMS = "log.json", "users.parquet", "items.parquet"
OFFSETS, SEQUENCE, TIMES = "offsets.npy", "sequence.npy", "times.npy"
FILES = {ABOUT, USERS, ITEMS, OFFSETS, SEQUENCE, TIMES}
FORMAT = 1
PARTS = 64  # of the users; one part is in memory at a time
EVENT = np.dtype([("user", "<i4"), ("item", "<i4"), ("time", "<f8")])
BLOCK = 1 << 21  # events that are written at once


def is_log_folder(path: Path) -> bool:
    """Whether `import_log` made this folder."""
    return (path / ABOUT).is_file()


def check_not_empty(path: Path, events: int, report: LogReport) -> None:
    """Refuse a log without a usable row.

    Raises:
        RecurraError: it has none; the message says where they went.
    """
    if not report.rows:
        raise RecurraError(f"{path} has no usable row: it is a header alone; give a log with rows")
    if not events:
        raise RecurraError(
            f"{path} has no usable row: {report.losses()}; name other columns (--user, --item,"
            " --time), or ask for less (--weight-min, --k-core)"
        )


def open_log(folder: Path) -> tuple[Interactions, LogReport]:
    """Open an imported log; its arrays are mapped, not read.

    Raises:
        RecurraError: the folder is damaged, or of another version.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about.pop("format") != FORMAT:
            raise RecurraError(f"{folder} is of another version; import the log anew")
        arrays = {
            name: np.load(folder / name, mmap_mode="r", allow_pickle=False).view(np.ndarray)
            for name in (OFFSETS, SEQUENCE, TIMES)
            if name != TIMES or (folder / name).is_file()
        }
        log = Interactions(
            users=pl.read_parquet(folder / USERS)["user"],
            items=pl.read_parquet(folder / ITEMS)["item"],
            offsets=arrays[OFFSETS],
            sequence=arrays[SEQUENCE],
            times=arrays.get(TIMES),
        )
        report = LogReport(**about)
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        first = (str(error).splitlines() or ["?"])[0]
        raise RecurraError(f"{folder} is a damaged log: {first}; import it anew") from error
    if len(log.offsets) != log.n_users + 1 or log.offsets[-1] != len(log):
        raise RecurraError(f"{folder} is a damaged log: its arrays do not fit; import it anew")
    return log, report


def import_log(
    path: Path,
    folder: Path,
    columns: LogColumns | None = None,
    *,
    force: bool = False,
    advance: Callable[[int], object] = lambda rows: None,
) -> LogReport:
    """Make a folder of a file, whatever its size; the same log to the bit as `read_log` reads.

    Rows go to the disk in parts by user, each part is put in the order of time by itself, and what
    is then one user after another is written in the order of the users. Memory is that of the ids,
    of a batch of rows and of one part: about 1/64 of the log.

    Args:
        path: see `read_log`.
        folder: new; needs 28 bytes an event while it is made, 12 when it is done.
        columns: see `LogColumns`.
        force: replace an imported log that is there.
        advance: called with numbers of usable rows, as they are read.

    Raises:
        RecurraError: the file cannot be used, or the folder is there.
    """
    _check_folder(folder, force)
    asked = columns or LogColumns()
    rows = LogRows(path, asked)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
        work, made = Path(name) / "work", Path(name) / "made"
        work.mkdir()
        made.mkdir()
        parts = _Parts(work, "time" in rows.columns)
        users, items = IdTable(), IdTable()
        for batch in rows.batches():
            times = batch["time"].to_numpy() if "time" in batch.columns else None
            parts.add(users.codes(batch["user"]), items.codes(batch["item"]), times)
            advance(len(batch))
        read = parts.sort(len(users.ids), len(items.ids))
        if read < parts.added:
            rows.left_out["repeated row"] += parts.added - read
        events = parts.filter(asked.k_core)
        if events < read:
            rows.left_out[f"not in the {asked.k_core}-core"] += read - events
        report = rows.report()
        check_not_empty(path, events, report)
        parts.write(made, rows.time_unit()[1])
        users.ids.filter(parts.kept_users).alias("user").to_frame().write_parquet(made / USERS)
        _, order = number_by_count(parts.item_counts)
        items.ids.gather(order).alias("item").to_frame().write_parquet(made / ITEMS)
        (made / ABOUT).write_text(json.dumps({"format": FORMAT, **asdict(report)}, indent=2) + "\n")
        if folder.is_dir():
            shutil.rmtree(folder)
        os.replace(made, folder)
    return report


def _check_folder(folder: Path, force: bool) -> None:
    if not folder.exists():
        return
    if not is_log_folder(folder) or {entry.name for entry in folder.iterdir()} - FILES:
        raise RecurraError(f"{folder} is there already and is no imported log; give another -o DIR")
    if not force:
        raise RecurraError(f"{folder} is there already; give --force to replace it")


class _Parts:
    """Events on the disk, divided by user: user u is in part u % PARTS.

    Attributes:
        added: events that were added.
        kept_users: bool (users,), after `filter`.
        item_counts: int64 (items,), events that are left of each item, after `filter`.
    """

    def __init__(self, folder: Path, timed: bool) -> None:
        self._raw = [folder / f"{part}.raw" for part in range(PARTS)]
        self._sorted = [folder / f"{part}.sorted" for part in range(PARTS)]
        for path in self._raw:
            path.touch()
        self._timed = timed
        self.added = 0

    def add(self, users: np.ndarray, items: np.ndarray, times: np.ndarray | None) -> None:
        """Append events, in the order of the file."""
        events = np.empty(len(users), EVENT)
        events["user"], events["item"] = users, items
        events["time"] = 0.0 if times is None else times
        part = (users % PARTS).astype(np.uint8)
        events = events[np.argsort(part, kind="stable")]
        ends = np.cumsum(np.bincount(part, minlength=PARTS))
        for path, own in zip(self._raw, np.split(events, ends[:-1]), strict=True):
            with open(path, "ab") as file:
                own.tofile(file)
        self.added += len(events)

    def sort(self, n_users: int, n_items: int) -> int:
        """Order each part by user and time and leave out repeats; how many events there are."""
        self._counts = np.zeros(n_users, np.int64)
        self.item_counts = np.zeros(n_items, np.int64)
        for raw, path in zip(self._raw, self._sorted, strict=True):
            events = np.fromfile(raw, EVENT)
            raw.unlink()
            if self._timed:
                events = events[np.lexsort((events["time"], events["user"]))]
                events = events[_first_of_repeats(events)]
            else:
                events = events[np.argsort(events["user"], kind="stable")]
            self._counts += np.bincount(events["user"], minlength=n_users)
            self.item_counts += np.bincount(events["item"], minlength=n_items)
            events.tofile(path)
        return int(self._counts.sum())

    def filter(self, k_core: int) -> int:
        """Choose the users and items of the k-core; how many events are left."""
        self.kept_users = np.ones(len(self._counts), bool)
        self._kept_items = np.ones(len(self.item_counts), bool)
        if k_core > 1:
            sizes = len(self._counts), len(self.item_counts)
            self.kept_users, self._kept_items = core_members(self._pairs, *sizes, k_core)
            self.item_counts = np.zeros(len(self.item_counts), np.int64)
            for users, items in self._pairs():
                kept = self.kept_users[users] & self._kept_items[items]
                self.item_counts += np.bincount(items[kept], minlength=len(self.item_counts))
        return int(self.item_counts.sum())

    def _pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for path in self._sorted:
            events = np.fromfile(path, EVENT)
            yield events["user"], events["item"]

    def write(self, folder: Path, seconds: float) -> None:
        """Write the arrays of all users, one after another; times are divided by `seconds`."""
        numbers, _ = number_by_count(self.item_counts)
        total, counts = int(self.item_counts.sum()), np.zeros(len(self._counts), np.int64)
        with open(folder / SEQUENCE, "wb") as sequence, open(folder / TIMES, "wb") as times:
            _write_head(sequence, total, "<i4")
            _write_head(times, total, "<f8")
            for events in self._in_order_of_users():
                kept = self.kept_users[events["user"]] & self._kept_items[events["item"]]
                events = events[kept]
                numbers[events["item"]].tofile(sequence)
                (events["time"] / seconds).tofile(times)
                counts += np.bincount(events["user"], minlength=len(counts))
        if not self._timed:
            (folder / TIMES).unlink()
        ends = np.cumsum(counts[self.kept_users])
        np.save(folder / OFFSETS, np.concatenate([[0], ends]))

    def _in_order_of_users(self) -> Iterator[np.ndarray]:
        """Events of some users at a time, users in the order of their codes."""
        begins = [
            np.concatenate([[0], np.cumsum(self._counts[part::PARTS])]) for part in range(PARTS)
        ]
        ends = np.cumsum(self._counts)
        rounds = -(-len(self._counts) // PARTS)  # round r has the users from r * PARTS on
        events_until = ends[np.minimum((np.arange(rounds) + 1) * PARTS, len(ends)) - 1]
        first = 0
        while first < rounds:
            done = 0 if first == 0 else events_until[first - 1]
            last = max(first + 1, int(np.searchsorted(events_until, done + BLOCK, "right")))
            pieces = []
            for path, begin in zip(self._sorted, begins, strict=True):
                start, stop = begin[min(first, len(begin) - 1)], begin[min(last, len(begin) - 1)]
                offset = int(start) * EVENT.itemsize
                pieces.append(np.fromfile(path, EVENT, int(stop - start), offset=offset))
            events = np.concatenate(pieces)
            yield events[np.argsort(events["user"], kind="stable")]
            first = last


def _first_of_repeats(events: np.ndarray) -> np.ndarray:
    """Mark the events that are no repeat of an earlier one: same user, time and item.

    Args:
        events: ordered by user and time, ties in the order of the file.
    """
    fresh = np.ones(len(events), bool)
    same = (events["user"][1:] == events["user"][:-1]) & (events["time"][1:] == events["time"][:-1])
    tied = np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
    some = events[tied]
    order = np.lexsort((some["item"], some["time"], some["user"]))
    ordered = some[order]
    fresh[tied[order[1:]]] = ordered[1:] != ordered[:-1]
    return fresh


def _write_head(file: object, length: int, kind: str) -> None:
    head = {"descr": kind, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, head)
