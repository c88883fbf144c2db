"""The application without a network: what is asked together, refused, counted."""

import asyncio
import json
import time

import numpy as np
import pytest

from recurra.recsys import Recommender
from recurra.recsys.serving.app import create_service_app
from recurra.recsys.serving.batching import Batcher
from recurra.recsys.serving.limits import RequestError, ServeLimits
from recurra.recsys.serving.metrics import BINS, ServiceMetrics
from recurra.recsys.serving.service import Query, Service
from recurra.recsys.similar import SimilarItems


@pytest.fixture
def folder(model, log, tmp_path):
    Recommender(model, log).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def service(folder):
    return Service(str(folder), ServiceMetrics())


JSON = b"application/json"


async def call(app, method, path, body=b"", query=b"", client="127.0.0.1", kind=JSON):
    """One request through the application: its status and document."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", kind)]
    scope = {"type": "http", "method": method, "path": path, "query_string": query}
    scope |= {"headers": headers, "client": (client, 1), "http_version": "1.1"}
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(m.get("body", b"") for m in sent[1:]))


def ask(service, *requests, limits=None):
    """What requests that come at the same moment get."""
    app = create_service_app(service, service._metrics, limits or ServeLimits())

    async def together():
        fastapi = app._app
        async with fastapi.router.lifespan_context(fastapi):
            return await asyncio.gather(*(call(app, *request) for request in requests))

    return asyncio.run(together())


def recommend(**body):
    return "POST", "/recommend", json.dumps(body).encode()


def test_what_is_asked_together_is_answered_as_alone_whatever_each_wants(service):
    requests = [
        recommend(history=["pot", "boat"], k=2),
        recommend(history=["pot"], k=5, seen=True),
        recommend(user="ann", k=1),
        recommend(user="dan"),
        recommend(history=[]),
        recommend(history=["pot"], k=3),
    ]
    together = ask(service, *requests)
    assert together == [ask(service, request)[0] for request in requests]
    assert [status for status, _ in together] == [200, 200, 200, 404, 200, 200]
    assert [len(found.get("items", ())) for _, found in together] == [2, 5, 1, 0, 5, 3]
    assert together[0][1]["unknown_items"] == 1
    assert together[3][1] == {"error": "the model has no user dan; give the history of a new one"}
    assert together[4][1]["cold_start"]
    assert together[4][1]["items"][0] == {"rank": 1, "item": "pot", "score": None}


def test_each_request_limits_its_own_list_and_the_scores_stay(service, folder, tmp_path):
    (tmp_path / "items.csv").write_text("item,category\npot,a\ntea,a\ncup,a\nmug,b\njug,c\n")
    service = Service(str(folder), ServiceMetrics(), tmp_path / "items.csv")
    requests = [
        recommend(history=["pot"], k=5),
        recommend(history=["pot"], k=5, only=["tea", "jug", "boat"]),
        recommend(history=["pot"], k=5, exclude=["tea"], seen=True),
        recommend(history=["pot"], k=5, per_category=1),
        recommend(history=[], k=2, exclude=["pot"]),
        recommend(history=["pot"], only=[]),
    ]
    together = ask(service, *requests)
    assert together == [ask(service, request)[0] for request in requests]
    found = [answer for _, answer in together]
    everything = {row["item"]: row["score"] for row in found[0]["items"]}
    names = [[row["item"] for row in answer["items"]] for answer in found]
    assert set(names[1]) == {"tea", "jug"}
    assert all(row["score"] == everything[row["item"]] for row in found[1]["items"])
    assert found[1]["unknown_ids_of_filters"] == 1
    assert "unknown_ids_of_filters" not in found[0]
    assert set(names[2]) == {"pot", "cup", "mug", "jug"}
    best = next(name for name in names[0] if name in ("tea", "cup"))
    assert names[3] == [name for name in names[0] if name in (best, "mug", "jug")]
    assert (names[4], found[4]["cold_start"]) == (["tea", "cup"], True)
    assert names[5] == []


def test_lists_are_those_of_the_recommender_to_the_bit(service, folder):
    ((_, found),) = ask(service, recommend(history=["tea", "cup"], k=3))
    table = Recommender.from_pretrained(folder).for_histories([["tea", "cup"]], 3).table
    assert found["items"] == table.drop("history").select("rank", "item", "score").to_dicts()


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        (("POST", "/recommend", b"{"), 400, "body: Invalid JSON"),
        (("POST", "/recommend", b"[]"), 400, "body: Input should be"),
        (recommend(history=["pot"], user="ann"), 400, "give a history or a user"),
        (recommend(), 400, "give a history or a user"),
        (recommend(history="pot"), 400, "history: Input should be a valid array"),
        (recommend(history=[None]), 400, "history.0"),
        (recommend(history=["pot"], k=0), 400, "k: Input should be greater"),
        (recommend(history=["pot"], per_category=2), 400, "was started with --items FILE"),
        (recommend(history=["pot"], per_category=0), 400, "per_category: Input should be greater"),
        (recommend(history=["pot"], only="tea"), 400, "only: Input should be a valid array"),
        (recommend(history=["pot"], k="5"), 400, "k: Input should be a valid integer"),
        (recommend(history=["pot"], k=21), 400, "k is 21; it must be at most 20"),
        (recommend(history=["pot"] * 51), 400, "over 50 events"),
        (recommend(history=["pot"], n=3), 400, "n: Extra inputs are not permitted"),
        (recommend(history=["p" * 5000]), 413, "the body is over 4096 bytes"),
        (("GET", "/similar"), 400, "item: Field required"),
        (("GET", "/similar", b"", b"item=boat"), 404, "does not know the item boat"),
        (("GET", "/recommend"), 405, "GET /recommend: Method Not Allowed"),
        (("GET", "/other"), 404, "GET /other: Not Found"),
        ((*recommend(user="ann"), b"", "127.0.0.1", b"text/plain"), 415, "must be JSON"),
        (("POST", "/reload", b"", b"", "10.0.0.7"), 403, "only this machine"),
    ],
)
def test_a_bad_request_gets_one_line(service, request_, status, message):
    limits = ServeLimits(body_bytes=4096, events=50, k=20)
    ((got, document),) = ask(service, request_, limits=limits)
    assert got == status
    assert list(document) == ["error"]
    assert message in document["error"]
    assert "\n" not in document["error"]


def test_health_and_metrics_tell_what_was_done(service):
    ask(service, recommend(user="ann"), recommend(user="bob"), recommend(), ("GET", "/a"))
    (_, health), (_, metrics) = ask(service, ("GET", "/health"), ("GET", "/metrics"))
    assert (health["items"], health["users"], health["status"]) == (5, 3, "ok")
    assert metrics["requests"]["/recommend"] == {"200": 2, "400": 1}
    assert metrics["requests"]["other"] == {"404": 1}
    assert metrics["batches"] * metrics["mean_batch"] == 2


def test_a_model_that_does_not_load_leaves_the_old_one(service, folder):
    (folder / "items.parquet").rename(folder / "gone.parquet")
    ((status, found),) = ask(service, ("POST", "/reload"))
    assert status == 409
    assert "the old model stays" in found["error"]
    assert ask(service, recommend(user="ann"))[0][0] == 200


def test_a_bug_is_told_as_one_and_the_next_request_is_answered(service, monkeypatch):
    def broken(queries):
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr(service, "recommend", lambda queries: broken(queries))
    app = create_service_app(service, service._metrics, ServeLimits())

    async def twice():
        fastapi = app._app
        async with fastapi.router.lifespan_context(fastapi):
            with pytest.raises(ZeroDivisionError):  # for the log of the server
                await call(app, *recommend(user="ann"))
            return await call(app, "GET", "/metrics")

    _, metrics = asyncio.run(twice())
    assert metrics["requests"]["/recommend"] == {"500": 1}


def test_the_batch_is_what_has_come_meanwhile_and_no_more_than_its_limit():
    batches = []

    def answer(queries):
        batches.append(list(queries))
        return [2 * query for query in queries]

    async def main():
        batcher = Batcher(answer, ServeLimits(batch=3, waiting=5))
        asked = [asyncio.create_task(batcher.ask(n)) for n in range(1, 6)]
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match="5 requests wait already"):
            await batcher.ask(6)
        asked[1].cancel()
        await asyncio.sleep(0)
        work = asyncio.create_task(batcher.run())
        answers = await asyncio.gather(*asked, return_exceptions=True)
        answers.append(await batcher.ask(7))
        work.cancel()
        return answers

    answers = asyncio.run(main())
    assert batches == [[1, 3, 4], [5], [7]]
    assert [answers[i] for i in (0, 2, 3, 4, 5)] == [2, 6, 8, 10, 14]


def test_a_slow_network_gets_smaller_batches():
    batches = []

    def answer(queries):
        batches.append(len(queries))
        time.sleep(0.02 * len(queries))
        return queries

    async def main():
        batcher = Batcher(answer, ServeLimits())
        work = asyncio.create_task(batcher.run())
        for count in (12, 12):
            await asyncio.gather(*(batcher.ask(n) for n in range(count)))
        work.cancel()

    asyncio.run(main())
    assert batches == [12, 8, 4]  # 0.1 s is five of them, and eight cost a network as much as one


def test_what_waited_too_long_behind_others_is_given_up():
    def answer(queries):
        time.sleep(0.06)
        return queries

    async def main():
        batcher = Batcher(answer, ServeLimits(seconds=0.05, batch=1))
        work = asyncio.create_task(batcher.run())
        asked = [asyncio.create_task(batcher.ask(name)) for name in ("first", "late")]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        work.cancel()
        return answers

    first, late = asyncio.run(main())
    assert first == "first"
    assert (late.status, str(late)) == (503, "no answer within 0.05 s; try again")


@pytest.fixture
def streaming(streaming_model, log, tmp_path):
    """A service of a model that keeps states of users."""
    Recommender(streaming_model, log).save(tmp_path / "streaming")
    return Service(str(tmp_path / "streaming"), ServiceMetrics(), max_users=3)


def came(user, *items, **body):
    return "POST", "/events", json.dumps({"user": user, "items": items, **body}).encode()


def assert_same_list(found, expected):
    assert [row["item"] for row in found["items"]] == [row["item"] for row in expected["items"]]
    for row, other in zip(found["items"], expected["items"], strict=True):
        assert row["score"] == pytest.approx(other["score"], abs=1e-5)


def test_a_list_knows_each_event_at_once_and_is_that_of_the_whole_history(streaming):
    history = []
    for item in ("tea", "mug", "tea", "jug"):
        history.append(item)
        ((status, taken),) = ask(streaming, came("dan", item))
        assert status == 200
        begun = len(history) == 1
        assert taken == {"events": len(history), "unknown_items": 0, "begun": begun}
        for wanted in ({"k": 4}, {"k": 5, "seen": True}, {"k": 5, "exclude": ["cup", "boat"]}):
            found, whole = ask(
                streaming, recommend(user="dan", **wanted), recommend(history=history, **wanted)
            )
            assert found[0] == whole[0] == 200
            assert_same_list(found[1], whole[1])
            assert found[1]["running"]
            assert "running" not in whole[1]


def test_a_state_begins_with_the_log_with_a_history_or_with_nothing(streaming):
    found = ask(
        streaming,
        recommend(user="ann"),  # pot, tea, cup in the log
        recommend(user="dan"),
        came("ann", "boat", "mug"),
        recommend(user="ann"),
        recommend(history=["pot", "tea", "cup", "mug"]),
        came("ann", "jug", history=["boat", "pot"]),
        recommend(user="ann"),
        recommend(history=["pot", "jug"]),
        came("eve", "boat"),
        recommend(user="eve", k=2),
        came(7),
        recommend(user="7", k=1),
    )
    assert [status for status, _ in found] == [200, 404] + 10 * [200]
    answers = [answer for _, answer in found]
    assert not answers[0]["running"]
    assert answers[2] == {"events": 4, "unknown_items": 1, "begun": True}
    assert_same_list(answers[3], answers[4])
    assert answers[5] == {"events": 2, "unknown_items": 1, "begun": True}
    assert_same_list(answers[6], answers[7])
    assert answers[8] == {"events": 0, "unknown_items": 1, "begun": True}
    assert (answers[9]["cold_start"], answers[9]["running"]) == (True, True)
    assert [row["item"] for row in answers[9]["items"]] == ["pot", "tea"]
    assert answers[11]["running"]  # ids are compared as text


def test_events_of_one_moment_are_read_in_their_order_and_as_alone(streaming, tmp_path):
    rng = np.random.default_rng(0)
    items = ["pot", "tea", "cup", "mug", "jug"]
    requests = []
    for _ in range(15):
        user, item = "uvw"[rng.integers(3)], items[rng.integers(5)]
        requests += [came(user, item), recommend(user=user, k=5, seen=True)]
    together = ask(streaming, *requests)
    other = Service(streaming.name, ServiceMetrics())
    assert together == [ask(other, request)[0] for request in requests]
    assert {status for status, _ in together} == {200}


def test_users_beyond_the_limit_are_dropped_and_reloading_drops_all_and_both_are_told(streaming):
    ask(streaming, *(came(f"u{number}", "tea") for number in range(5)))
    (_, health), (_, metrics), (status, _) = ask(
        streaming, ("GET", "/health"), ("GET", "/metrics"), recommend(user="u1")
    )
    assert health["running_users"] == 3
    assert metrics["running_users"]["kept"] == metrics["running_users"]["limit"] == 3
    assert metrics["running_users"]["state_bytes"] > 0
    assert metrics["running_users"]["dropped"] == {"least_recently_used": 2, "reload": 0}
    assert metrics["requests"]["/events"] == {"200": 5}
    assert status == 404
    ((_, reloaded),) = ask(streaming, ("POST", "/reload"))
    assert (reloaded["dropped_users"], reloaded["running_users"]) == (3, 0)
    (_, taken), (_, metrics) = ask(streaming, came("u4", "cup"), ("GET", "/metrics"))
    assert taken == {"events": 1, "unknown_items": 0, "begun": True}
    assert metrics["running_users"]["dropped"] == {"least_recently_used": 2, "reload": 3}


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        (came("ann", *(51 * ["pot"])), 400, "over 50 events; send the last"),
        (came("ann", "pot", history=50 * ["pot"]), 400, "over 50 events; send the last"),
        (came("a" * 257, "pot"), 400, "user"),
        (came(None, "pot"), 400, "user"),
        (came("ann", None), 400, "items.0"),
        (("POST", "/events", b'{"user": "ann"}'), 400, "items: Field required"),
        (came("ann", "pot", k=3), 400, "k: Extra inputs are not permitted"),
        (came("ann", "p" * 5000), 413, "the body is over 4096 bytes"),
        ((*came("ann", "pot"), b"", "127.0.0.1", b"text/plain"), 415, "must be JSON"),
        (("GET", "/events"), 405, "GET /events: Method Not Allowed"),
    ],
)
def test_bad_events_get_one_line_and_begin_no_state(streaming, request_, status, message):
    limits = ServeLimits(body_bytes=4096, events=50)
    (got, document), (_, health) = ask(streaming, request_, ("GET", "/health"), limits=limits)
    assert (got, list(document)) == (status, ["error"])
    assert message in document["error"]
    assert "\n" not in document["error"]
    assert health["running_users"] == 0


def test_a_model_that_reads_whole_histories_takes_no_events_and_says_what_to_do(service):
    (status, found), (_, health), (_, metrics) = ask(
        service, came("ann", "pot"), ("GET", "/health"), ("GET", "/metrics")
    )
    assert status == 409
    assert "send the history to /recommend" in found["error"]
    assert "network.encoder=mamba2 network.positions=none" in found["error"]
    assert health["running_users"] is metrics["running_users"] is None


def test_quantiles_are_within_a_bin_of_the_truth():
    metrics, rng = ServiceMetrics(), np.random.default_rng(0)
    seconds = rng.lognormal(-4, 1, 2000)
    for value in seconds:
        metrics.observe("/recommend", 200, value)
    found = metrics.document()["recommend_ms"]
    for share in (50, 90, 99):
        true = 1000 * np.quantile(seconds, share / 100)
        assert true * 0.99 <= found[f"p{share}"] <= true * (BINS[1] / BINS[0]) * 1.01


def test_service_recommends_for_queries_of_both_kinds_in_one_call(service):
    queries = [Query(None, "ann", 2, True), Query(["pot", "tea", "cup"], None, 2, True)]
    user, history = service.recommend(queries)
    assert user == history


def test_similar_items_are_those_of_the_smallest_angle(model, log):
    table = model.output_table.detach().double().numpy()[1:]
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    cosines = table @ table[log.items.to_list().index("cup")]
    order = np.argsort(-cosines)
    found = SimilarItems(Recommender(model, log)).of("cup", k=10)
    assert found["item"].to_list() == [log.items[int(place)] for place in order[1:]]
    np.testing.assert_allclose(found["cosine"].to_numpy(), cosines[order[1:]], atol=1e-6)
    assert len(SimilarItems(Recommender(model, log)).of("cup", k=2)) == 2
