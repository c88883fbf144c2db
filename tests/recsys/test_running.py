"""Users who are served while their histories grow."""

import itertools

import numpy as np
import pytest
import torch

from recurra.core.errors import RecurraError
from recurra.recsys import Recommender
from recurra.recsys.item_index import ItemIndex
from recurra.recsys.models import SasRec, SasRecConfig
from recurra.recsys.running import NewEvents, RunningUsers, Taken
from recurra.recsys.selection import Selection

ITEMS = ["pot", "tea", "cup", "mug", "jug"]


@pytest.fixture
def recommender(streaming_model, log):
    return Recommender(streaming_model, log)


def assert_as_whole(table, recommender, history, **options):
    whole = recommender.for_histories([history], **options).table
    assert table["item"].to_list() == whole["item"].to_list()
    assert table["rank"].to_list() == whole["rank"].to_list()
    assert table["score"].to_list() == pytest.approx(whole["score"].to_list(), abs=1e-5)


def test_lists_are_those_of_the_whole_history_after_each_event(recommender):
    users, history = RunningUsers(recommender), []
    for item in ["tea", "mug", "tea", "jug"]:
        assert users.take("dan", [item]) == 0
        history.append(item)
        assert_as_whole(users.recommend("dan", 3), recommender, history, k=3)
    seen = users.recommend("dan", 9, filter_seen=False)
    assert_as_whole(seen, recommender, history, k=9, filter_seen=False)
    assert users.recommend("dan", 9)["item"].len() == 2  # two items are left


def test_users_of_the_log_begin_with_their_histories_and_unknown_items_are_counted(recommender):
    users = RunningUsers(recommender)
    assert_as_whole(users.recommend("ann", 2), recommender, ["pot", "tea", "cup"], k=2)
    assert users.take("ann", ["spoon", "mug"]) == 1
    assert_as_whole(users.recommend("ann"), recommender, ["pot", "tea", "cup", "mug"])


def test_someone_without_events_gets_the_most_popular_items(recommender):
    users = RunningUsers(recommender)
    assert users.take("eve", ["spoon"]) == 1
    found = users.recommend("eve", 2)
    assert found["item"].to_list() == ["pot", "tea"]
    assert found["score"].null_count() == 2


def test_a_network_that_reads_whole_histories_is_refused_with_the_remedy(log, model):
    with pytest.raises(RecurraError, match=r"network\.encoder=mamba2 network\.positions=none"):
        RunningUsers(Recommender(model, log))


@pytest.mark.parametrize("encoder", ["mamba2", "prefix-attention"])
@pytest.mark.parametrize("ngrams", [(), (1, 2)])
def test_events_one_by_one_are_the_whole_history_also_beyond_the_networks_length(
    log, encoder, ngrams
):
    torch.manual_seed(1)
    sizes = {"n_items": 5, "max_len": 8, "d_model": 8, "positions": "none"}
    model = SasRec(SasRecConfig(**sizes, encoder=encoder, ngrams=ngrams)).eval()
    users, recommender = RunningUsers(Recommender(model, log)), Recommender(model, log)
    history = [ITEMS[place] for place in np.random.default_rng(2).integers(0, 5, 30)]
    for n, item in enumerate(history, 1):
        users.take("dan", [item])
        if n not in (1, 7, 8, 9, 30):
            continue
        ((items, scores),) = users.lists(["dan"], [5], filter_seen=False)
        with torch.no_grad():
            whole = torch.from_numpy(log.number(history[:n]).astype(np.int64))[None]
            expected = model.score_next(model.read(whole)[1]).numpy()[0]
        np.testing.assert_allclose(scores, expected[items], atol=1e-5)
        assert items.tolist() == (1 + np.argsort(-expected[1:])).tolist()
        if n <= 8:  # as many as a list from the whole history looks at
            ((same, values),) = recommender.lists([whole[0].numpy()], 5, filter_seen=False)
            assert items.tolist() == same.tolist()
            np.testing.assert_allclose(scores, values, atol=1e-5)


def test_a_history_begins_anew_and_what_became_of_events_is_told(recommender):
    users = RunningUsers(recommender)
    new = [
        NewEvents("dan", ["tea", "boat"]),
        NewEvents("ann", ["mug"]),
        NewEvents("dan", ["cup"]),
        NewEvents("dan", ["jug"], history=["mug", "boat", "pot"]),
        NewEvents("dan", []),
        NewEvents("eve", [], history=[]),
    ]
    assert users.take_each(new) == [
        Taken(events=1, unknown_items=1, begun=True),
        Taken(events=4, unknown_items=0, begun=True),
        Taken(events=2, unknown_items=0, begun=False),
        Taken(events=3, unknown_items=1, begun=True),
        Taken(events=3, unknown_items=0, begun=False),
        Taken(events=0, unknown_items=0, begun=True),
    ]
    assert_as_whole(users.recommend("dan"), recommender, ["mug", "pot", "jug"])
    assert users.seen("dan").tolist() == sorted(recommender.log.number(["mug", "pot", "jug"]))


def test_many_at_once_have_the_states_and_lists_that_each_has_alone_to_the_bit(recommender):
    rng = np.random.default_rng(3)
    new = [
        NewEvents(f"u{rng.integers(9)}", [ITEMS[i] for i in rng.integers(0, 5, rng.choice([1, 3]))])
        for _ in range(60)
    ]
    together, alone = RunningUsers(recommender), RunningUsers(recommender)
    assert together.take_each(new) == [alone.take_each([one])[0] for one in new]
    names, ks = [f"u{number}" for number in range(9)], [5, 1, 3] * 3
    rules = [Selection(np.arange(6) != 1 + number % 5) for number in range(9)]
    many = together.lists(names, ks, False, rules)
    for name, k, rule, (items, scores) in zip(names, ks, rules, many, strict=True):
        ((own, values),) = alone.lists([name], [k], False, [rule])
        assert items.tolist() == own.tolist()
        assert scores.tolist() == values.tolist()
        assert together.seen(name).tolist() == sorted(set(alone.seen(name).tolist()))
    assert max(len(items) for items, _ in many) == 4  # one item is not allowed


def test_of_more_users_than_the_limit_the_one_longest_not_heard_of_begins_anew(recommender):
    users = RunningUsers(recommender, limit=2)
    for user in ("u1", "u2"):
        users.take(user, ["tea"])
    users.recommend("u1")
    users.take("u3", ["tea"])
    assert ["u1" in users, "u2" in users, "u3" in users] == [True, False, True]
    assert (len(users), users.dropped) == (2, 1)
    ((taken),) = users.take_each([NewEvents("u2", ["cup"])])
    assert taken == Taken(events=1, unknown_items=0, begun=True)
    assert users.take_each([NewEvents(f"v{n}", ["cup"]) for n in range(5)])[4].events == 1
    assert (len(users), users.dropped) == (2, 7)
    with pytest.raises(RecurraError, match="the limit is 0 users"):
        RunningUsers(recommender, limit=0)


def test_memory_is_that_of_one_row_a_user_and_does_not_grow(recommender):
    users = RunningUsers(recommender)
    for item in itertools.islice(itertools.cycle(ITEMS), 20):
        users.take_each([NewEvents("dan", [item]), NewEvents("eve", [item])])
    kept = [value for state in users._users.values() for value in state.network.values()]
    assert sum(value.untyped_storage().nbytes() for value in kept) == users.state_bytes
    assert len(users.seen("dan")) == 5


def test_an_index_is_asked_where_there_is_one(streaming_model, log):
    index = ItemIndex.build(streaming_model)
    index.probes = 5
    found = RunningUsers(Recommender(streaming_model, log, index))
    exact = RunningUsers(Recommender(streaming_model, log))
    asked = []
    inner = index.find
    index.find = lambda *words: asked.append(inner(*words)) or asked[-1]
    for users in (found, exact):
        users.take_each([NewEvents("dan", ["tea", "mug"]), NewEvents("eve", ["jug"])])
    for k in (2, 4):  # two and three items are left to be listed: the index has too few for dan
        lists = [users.lists(["dan", "eve"], [k, k]) for users in (found, exact)]
        for (items, scores), (own, values) in zip(*lists, strict=True):
            assert items.tolist() == own.tolist()
            np.testing.assert_allclose(scores, values, atol=1e-6)
    assert [answer is None for answer in asked] == [False, False, True, False]
