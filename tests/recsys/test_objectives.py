import numpy as np
import polars as pl
import pytest

from recurra.core.training import Draw
from recurra.recsys.data import Interactions
from recurra.recsys.objectives import ClozeBatches, ClozeConfig, NextItemBatches
from recurra.recsys.windows import cut_windows


def log_of(*lengths):
    rows = [(user, i) for user, n in enumerate(lengths) for i in range(n)]
    return Interactions.from_frame(pl.DataFrame(rows, schema=["user", "item"], orient="row"))


def test_long_histories_are_cut_back_from_their_ends():
    assert cut_windows(log_of(3, 10), 4, 2).tolist() == [
        [0, 3],
        [9, 13],
        [7, 11],
        [5, 9],
        [3, 7],
    ]


def test_every_event_is_in_a_window():
    for length in range(1, 40):
        windows = cut_windows(log_of(length), 7, 3)
        assert set(np.concatenate([np.arange(*w) for w in windows])) == set(range(length))
        assert (windows[:, 1] - windows[:, 0]).max() == min(length, 7)


def original(log, batch):
    """The batch with what was hidden put back."""
    items = batch["items"].clone()
    items.view(-1)[batch["places"]] = batch["targets"]
    return items


def test_hidden_items_are_the_masks_and_their_number_is_the_share():
    log = log_of(*[20] * 8)
    batches = ClozeBatches(log, 20, 10, ClozeConfig(0.25, 0.0), batch_size=8)
    batch = batches[Draw(0, 0)]
    masked = batch["items"] == log.n_items + 1
    assert masked.flatten().nonzero().squeeze(1).tolist() == sorted(batch["places"].tolist())
    assert masked.sum(1).tolist() == [5] * 8
    np.testing.assert_array_equal(original(log, batch), log.sequence.reshape(8, 20))


@pytest.mark.parametrize("share", [0.01, 0.2, 1.0])
def test_each_example_hides_at_least_one_item(share):
    log = log_of(1, 2, 3, 4, 9)
    batch = ClozeBatches(log, 9, 5, ClozeConfig(share), batch_size=32)[Draw(0, 0)]
    masked = (batch["items"] == log.n_items + 1).sum(1)
    assert (masked >= 1).all()


def test_examples_of_the_last_item_hide_it_alone():
    log = log_of(5, 5)
    batch = ClozeBatches(log, 5, 3, ClozeConfig(last_share=1.0), batch_size=32)[Draw(3, 0)]
    assert batch["places"].tolist() == [4, 9]


def test_an_epoch_has_each_window_once_and_another_order_next_time():
    log = log_of(*range(1, 60))
    batches = ClozeBatches(log, 30, 30, ClozeConfig(), batch_size=4)
    seen = []
    for epoch in (0, 1):
        rows = []
        for index in range(len(batches)):
            items = original(log, batches[Draw(epoch, index)])
            rows += [tuple(row[row > 0].tolist()) for row in items]
        assert len(rows) == len(batches.windows)
        seen.append(rows)
    assert seen[0] != seen[1]
    assert sorted(seen[0]) == sorted(seen[1])


def test_a_batch_depends_on_its_seed_epoch_and_index_alone():
    def cloze(seed):
        log = log_of(*range(1, 30))
        return ClozeBatches(log, 30, 15, ClozeConfig(), batch_size=4, seed=seed)

    first, second = (cloze(seed) for seed in (2, 2))
    second[Draw(5, 3)]
    for name, value in first[Draw(0, 1)].items():
        np.testing.assert_array_equal(value, second[Draw(0, 1)][name])
    other = cloze(3)[Draw(0, 1)]
    assert (
        other["items"].shape != value.shape or (other["items"] != first[Draw(0, 1)]["items"]).any()
    )


def test_histories_of_like_lengths_share_a_batch():
    rng = np.random.default_rng(0)
    log = log_of(*rng.integers(1, 50, 400))
    batches = ClozeBatches(log, 50, 25, ClozeConfig(), batch_size=16)
    filled = [batches[Draw(0, i)]["items"] for i in range(len(batches))]
    assert sum(int((x > 0).sum()) for x in filled) > 0.9 * sum(x.numel() for x in filled)


def test_what_comes_next_is_asked_at_every_event_but_the_last():
    log = log_of(4, 1, 2)
    batches = NextItemBatches(log, 5, 2, batch_size=8)
    assert len(batches.windows) == 2  # nothing comes after the only event of the second
    batch = batches[Draw(0, 0)]
    a, b, c, d = log.history(0).tolist()
    rows = {tuple(row) for row in batch["items"].tolist()}
    assert rows == {(a, b, c), (a, 0, 0)}  # items are numbered by user: all begin alike
    before = batch["items"].flatten()[batch["places"]].tolist()
    pairs = set(zip(before, batch["targets"].tolist(), strict=True))
    assert pairs == {(a, b), (b, c), (c, d)}
