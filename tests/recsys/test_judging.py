import numpy as np
import polars as pl
import pytest

from recurra.core.bootstrap import bootstrap_mean
from recurra.core.errors import RecurraError
from recurra.recsys.baselines import Markov, Popularity
from recurra.recsys.data import Holdout, Interactions, Split
from recurra.recsys.judging import HISTORY_EDGES, judge, popularity_bands
from recurra.recsys.ranking import evaluate
from recurra.recsys.report import Row, document, judge_baselines, warn_if_under, write_users


class Fixed:
    name = "fixed"

    def __init__(self, *scores):
        self.scores = np.array([99, *scores], np.float32)

    def score(self, histories):
        return np.tile(self.scores, (len(histories), 1))


def log_of(*histories):
    rows = [(f"u{user}", item) for user, history in enumerate(histories) for item in history]
    return Interactions.from_frame(pl.DataFrame(rows, schema=["user", "item"], orient="row"))


@pytest.fixture
def split():
    """Items a b c d e are 1 to 5 and have 4 2 1 1 0 training events."""
    log = log_of("aaab", "abcd")
    log = Interactions(log.users, pl.Series("item", list("abcde")), log.offsets, log.sequence)
    histories = log_of("a" * 6, "b")
    histories = Interactions(log.users, log.items, histories.offsets, histories.sequence)
    holdout = Holdout(histories, np.array([3, 5], np.int32))
    return Split(log, holdout, holdout, "by hand")


def test_a_row_a_user_says_what_was_right_and_where_it_stood(split):
    found = judge(Fixed(5, 4, 3, 2, 1), split, k=2)
    rows = found.users.to_dicts()
    assert [row["user"] for row in rows] == ["u0", "u1"]
    assert [row["item"] for row in rows] == ["c", "e"]
    assert [row["history"] for row in rows] == [6, 1]
    assert [row["popularity"] for row in rows] == ["tail", "new"]
    # a is out for the first, so that c stands behind b; all but b are before e for the second
    assert [(row["above"], row["tied"]) for row in rows] == [(1, 1), (3, 1)]
    assert [row["mrr@2"] for row in rows] == [0.5, 0.0]


def test_means_are_those_of_evaluate_and_coverage_and_novelty_are_counted(split):
    scorer = Fixed(5, 4, 3, 2, 1)
    means = judge(scorer, split, k=2).means()
    for name, value in evaluate(scorer, split.test, k=2).items():
        assert means[name] == value
    # the lists are b c and a c; of 8 events a has 4, b 2, c 1
    assert means["coverage@2"] == 3 / 5
    assert means["novelty@2"] == pytest.approx(((2 + 3) / 2 + (1 + 3) / 2) / 2)


def test_bands_hold_a_third_of_the_events_each():
    names = popularity_bands(np.array([0, 3, 3, 1, 1, 1, 0])).tolist()
    assert names == [3, 0, 1, 2, 2, 2, 3]  # 9 events


def test_bands_of_users_add_up(split):
    bands = judge(Fixed(5, 4, 3, 2, 1), split, k=2).bands()
    assert [(row["band"], row["users"], row["mrr@2"]) for row in bands["popularity"]] == [
        ("tail", 1, 0.5),
        ("new", 1, 0.0),
    ]
    assert [row["band"] for row in bands["length"]] == ["up to 5", "up to 10"]
    assert HISTORY_EDGES[:2] == (5, 10)


def test_a_difference_is_paired_by_user(split):
    better, worse = judge(Fixed(5, 4, 3, 2, 9), split), judge(Fixed(5, 4, 3, 2, 1), split)
    found = better.better_than(worse)
    values = better.users["ndcg@10"].to_numpy() - worse.users["ndcg@10"].to_numpy()
    assert found == bootstrap_mean(values)
    assert better.better_than(better).mean == 0
    assert better.better_than(better).high == 0


def test_a_document_has_differences_to_the_markov_rule(split):
    rows = [
        *judge_baselines(split, ["popularity", "markov"]),
        Row(judge(Fixed(1, 2, 3, 4, 5), split), 7.0),
    ]
    found = document(rows, split)
    assert list(found["test"]) == ["popularity", "markov", "fixed"]
    assert found["users"] == 2
    fixed, markov = found["test"]["fixed"], found["test"]["markov"]
    assert fixed["ndcg_minus_markov"] == pytest.approx(fixed["ndcg@10"] - markov["ndcg@10"])
    assert "ndcg_minus_markov" not in markov
    assert fixed["cpu_seconds"] == 7.0
    low, high = fixed["ndcg_interval"]
    assert low <= fixed["ndcg@10"] <= high


def test_rules_that_the_log_does_not_allow_are_left_out_and_said(split, capsys, monkeypatch):
    monkeypatch.setitem(judge_baselines.__globals__["COSTLY"], "ease", 3)
    names = [row.judgement.name for row in judge_baselines(split)]
    assert names == ["popularity", "markov", "item-knn"]
    said = capsys.readouterr().err
    assert "recent-popularity: left out: recent-popularity needs a log with times" in said
    assert "ease: left out, which costs minutes here" in said
    with pytest.raises(RecurraError, match="needs a log with times"):
        judge_baselines(split, ["recent-popularity"])


def test_a_model_under_a_rule_is_warned_about(split, capsys):
    rule = Row(judge(Popularity(split.train), split), 0.0)
    under, over = (
        Row(judge(Fixed(5, 4, 1, 2, 0), split), 1.0),
        Row(judge(Fixed(0, 0, 9, 0, 9), split), 1.0),
    )
    warn_if_under([rule, over], "fixed")
    assert capsys.readouterr().err == ""
    warn_if_under([rule, under], "fixed")
    assert "warning: popularity ranks better than the trained model" in capsys.readouterr().err


def test_results_of_users_go_to_one_table(split, tmp_path):
    rows = [Row(judge(scorer(split.train), split), 0.0) for scorer in (Popularity, Markov)]
    write_users(rows, tmp_path / "users.parquet")
    table = pl.read_parquet(tmp_path / "users.parquet")
    assert table["model"].to_list() == ["popularity"] * 2 + ["markov"] * 2
    assert table.columns[1:] == rows[0].judgement.users.columns
