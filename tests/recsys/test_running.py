"""Users who are served while their histories grow."""

import pytest
import torch

from recurra.core.errors import RecurraError
from recurra.recsys import Recommender
from recurra.recsys.models import SasRec, SasRecConfig
from recurra.recsys.running import RunningUsers


@pytest.fixture
def recommender(log):
    torch.manual_seed(0)
    sizes = {"n_items": 5, "max_len": 8, "d_model": 8}
    return Recommender(SasRec(SasRecConfig(**sizes, encoder="mamba2", positions="none")), log)


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
