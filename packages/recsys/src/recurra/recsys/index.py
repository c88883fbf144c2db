"""An index for the lists of a large catalogue, and what it finds and saves on this machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from recurra.core.errors import RecurraError, import_extra
from recurra.core.pretrained import add_file
from recurra.recsys.item_index import INDEX, LONGEST, ItemIndex, recall
from recurra.recsys.ranking import ItemLists
from recurra.recsys.recommender import Recommender

LEAST_ITEMS = 100_000  # below these an exact list takes a few milliseconds
K = 10
ASKED = 256  # histories that the cells to look at are chosen by, and as many to measure with
ALONE = 32  # of these that are asked for one by one, too


@dataclass(frozen=True)
class IndexReport:
    """What was made, and what it is worth.

    Attributes:
        items: of the model.
        written: the file; None where the catalogue is so small that all items are scored.
        cells, probes: how many there are, and how many are looked at for a list.
        recall_at_10, recall_at_100: share of the items of exact lists that the index finds, a mean
            over histories by which nothing was chosen, what was seen left out.
        exact_ms, index_ms: CPU time of a list of 10, many asked for together, in milliseconds.
        exact_alone_ms, index_alone_ms: the same of one asked for alone.
        build_seconds: CPU time that making it took.
        stored_bytes: of the file.
    """

    items: int
    written: Path | None
    cells: int | None = None
    probes: int | None = None
    recall_at_10: float | None = None
    recall_at_100: float | None = None
    exact_ms: float | None = None
    index_ms: float | None = None
    exact_alone_ms: float | None = None
    index_alone_ms: float | None = None
    build_seconds: float | None = None
    stored_bytes: int | None = None


def index_model(folder: str | Path, *, least_recall: float = 0.99, seed: int = 0) -> IndexReport:
    """Write an index into a model folder, for which `recommend` and `serve` then look.

    Cells are looked at, twice as many each time, until lists of 10 for users of the model's log
    hold so much of the exact ones; other users then tell what it is worth.

    Args:
        folder: of a model; an index that is there is replaced.
        least_recall: of lists of 10.
        seed: of k-means and of the users.

    Raises:
        RecurraError: there is no such folder, or its log has fewer than two users to measure with.
        MissingExtraError: faiss is not installed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RecurraError(f"{folder} is not a folder; an index is written into that of a model")
    import_extra("faiss", extra="faiss", package="recurra-recsys")
    exact = Recommender.from_pretrained(folder)
    n_items = exact.log.n_items
    if n_items < LEAST_ITEMS:
        return IndexReport(n_items, None)
    choosing, judging = _histories(exact, seed)
    start = time.process_time()
    index = ItemIndex.build(exact.model, seed=seed)
    build_seconds = time.process_time() - start
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # CPU time means the same on any machine
    try:
        choose_probes(exact, index, choosing, least_recall)
        report = _measure(exact, index, judging)
    finally:
        torch.set_num_threads(threads)
    add_file(folder, INDEX, index.save)
    written = folder / INDEX
    size = written.stat().st_size
    return replace(report, written=written, stored_bytes=size, build_seconds=build_seconds)


def choose_probes(
    exact: Recommender, index: ItemIndex, histories: list[np.ndarray], least_recall: float
) -> None:
    """Double the cells that are looked at until lists of 10 hold so much of the exact ones."""
    indexed = Recommender(exact.model, exact.log, index)
    right = exact.lists(histories, K)
    while recall(indexed.lists(histories, K), right) < least_recall:
        if index.probes == len(index.centres):
            return
        index.probes = min(2 * index.probes, len(index.centres))


def _measure(exact: Recommender, index: ItemIndex, histories: list[np.ndarray]) -> IndexReport:
    indexed = Recommender(exact.model, exact.log, index)
    exact_ms, right = _timed(lambda: exact.lists(histories, K), len(histories))
    index_ms, found = _timed(lambda: indexed.lists(histories, K), len(histories))
    longer = indexed.lists(histories, LONGEST), exact.lists(histories, LONGEST)
    return IndexReport(
        items=exact.log.n_items,
        written=None,
        cells=len(index.centres),
        probes=index.probes,
        recall_at_10=recall(found, right),
        recall_at_100=recall(*longer),
        exact_ms=exact_ms,
        index_ms=index_ms,
        exact_alone_ms=_alone(exact, histories[:ALONE]),
        index_alone_ms=_alone(indexed, histories[:ALONE]),
    )


def _histories(recommender: Recommender, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Histories to choose by, and others to measure with."""
    log = recommender.log
    users = np.flatnonzero(log.lengths)
    if len(users) < 2:
        raise RecurraError(
            f"the model's log has {len(users)} users with events; an index needs two to try it on"
        )
    some = np.random.default_rng(seed).permutation(users)[: 2 * ASKED]
    histories = [log.history(user) for user in some]
    return histories[::2], histories[1::2]


def _alone(recommender: Recommender, histories: list[np.ndarray]) -> float:
    """CPU milliseconds of a list that is asked for alone."""

    def work() -> ItemLists:
        return [recommender.lists([history], K)[0] for history in histories]

    return _timed(work, len(histories))[0]


def _timed(work: Callable[[], ItemLists], lists: int) -> tuple[float, ItemLists]:
    """CPU milliseconds of a list, and the lists."""
    start = time.process_time()
    found = work()
    return 1000 * (time.process_time() - start) / lists, found
