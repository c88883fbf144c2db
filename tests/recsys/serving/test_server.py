"""A real server: another process, a free port, HTTP."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

from recurra.recsys import Recommender
from recurra.recsys.models import Bert4Rec, Bert4RecConfig

COMMAND = Path(sysconfig.get_path("scripts")) / "recurra-recsys"
pytestmark = pytest.mark.slow


@contextlib.contextmanager
def serving(folder, *options):
    """A server of a folder: its host with the port, and its process."""
    command = [COMMAND, "serve", folder, "--port", "0", *options]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            yield urlsplit(process.stdout.readline().split()[-1]).netloc, process
        finally:
            process.kill()


def ask(place, method, path, body=None, connection=None):
    connection = connection or http.client.HTTPConnection(place, timeout=60)
    headers = {"Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@pytest.fixture
def folder(model, log, tmp_path):
    Recommender(model, log).save(tmp_path / "model")
    return tmp_path / "model"


def test_lists_over_http_alone_and_in_a_crowd_are_those_of_recommend(folder):
    items = ["pot", "tea", "cup", "mug", "jug"]
    histories = [[items[(7 * row + i) % 5] for i in range(row % 4 + 1)] for row in range(60)]
    table = Recommender.from_pretrained(folder).for_histories(histories, 3).table
    expected = [
        rows.sort("rank").select("rank", "item", "score").to_dicts()
        for rows in table.partition_by("history", maintain_order=True)
    ]
    with serving(folder) as (place, _):

        def served(history):
            return ask(place, "POST", "/recommend", {"history": history, "k": 3})[1]["items"]

        alone = [served(history) for history in histories[:3]]
        with ThreadPoolExecutor(20) as pool:
            crowd = list(pool.map(served, histories))
        similar = ask(place, "GET", "/similar?item=tea&k=2")
        metrics = ask(place, "GET", "/metrics")[1]
    assert alone == expected[:3]
    assert crowd == expected
    assert similar[0] == 200
    assert len(similar[1]["items"]) == 2
    assert metrics["requests"]["/recommend"] == {"200": 63}


def test_a_model_is_replaced_under_load_and_no_request_is_dropped(folder, log):
    torch.manual_seed(7)
    other = Bert4Rec(Bert4RecConfig(n_items=5, max_len=6, d_model=8)).eval()
    wanted = {"history": ["pot"], "k": 4}
    with serving(folder) as (place, _):
        done, statuses, answers = threading.Event(), [], []

        def keep_asking():
            connection = http.client.HTTPConnection(place, timeout=60)
            while not done.is_set():
                status, found = ask(place, "POST", "/recommend", wanted, connection)
                statuses.append(status)
                answers.append(json.dumps(found["items"]))

        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(keep_asking) for _ in range(8)]
            before = ask(place, "POST", "/recommend", wanted)[1]["items"]
            Recommender(other, log).save(folder)
            assert ask(place, "POST", "/reload")[0] == 200
            after = ask(place, "POST", "/recommend", wanted)[1]["items"]
            done.set()
            for future in asking:
                future.result()
    assert set(statuses) == {200}
    assert before != after
    assert set(answers) <= {json.dumps(before), json.dumps(after)}


def test_events_of_many_clients_at_once_are_all_read_once(streaming_model, log, tmp_path):
    Recommender(streaming_model, log).save(tmp_path / "streaming")
    with serving(tmp_path / "streaming") as (place, _):

        def post(user):
            return ask(place, "POST", "/events", {"user": user, "items": ["tea"]})[1]["events"]

        with ThreadPoolExecutor(20) as pool:
            shared = list(pool.map(post, ["dan"] * 60))
            own = list(pool.map(post, [f"u{number}" for number in range(60)]))
        listed = ask(place, "POST", "/recommend", {"user": "dan", "k": 3})[1]
        whole = ask(place, "POST", "/events", {"user": "eve", "items": [], "history": ["tea"] * 60})
        again = ask(place, "POST", "/recommend", {"user": "eve", "k": 3})[1]
    assert sorted(shared) == list(range(1, 61))
    assert own == [1] * 60
    assert whole == (200, {"events": 60, "unknown_items": 0, "begun": True})
    assert [row["item"] for row in listed["items"]] == [row["item"] for row in again["items"]]
    scores = [[row["score"] for row in found["items"]] for found in (listed, again)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_a_body_that_does_not_come_is_given_up_and_others_are_answered(folder):
    with serving(folder, "--timeout", "1") as (place, _):
        host, port = place.split(":")
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            slow.sendall(b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            assert ask(place, "GET", "/health")[0] == 200
            answer = slow.makefile().read()  # until the server closes
    assert answer.startswith("HTTP/1.1 408")
    assert "the body was not here within 1 s" in answer


def test_a_server_that_is_told_to_stop_answers_what_is_in_work(folder):
    with serving(folder) as (place, process):
        host, port = place.split(":")
        body = b'{"history": ["pot"]}'
        with socket.create_connection((host, int(port)), timeout=60) as waiting:
            head = "POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            waiting.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:5])
            assert ask(place, "GET", "/health")[0] == 200  # the loop has read what came before
            process.send_signal(signal.SIGTERM)
            waiting.sendall(body[5:])
            assert waiting.recv(4096).startswith(b"HTTP/1.1 200")
        assert process.wait(30) == 143
        assert process.stderr.read() == "recurra-recsys: interrupted\n"


def test_a_port_that_is_taken_is_one_line(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [COMMAND, "serve", folder, "--port", port]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"cannot listen at 127.0.0.1:{port}: address already in use; give" in done.stderr
    assert done.stderr.count("\n") == 1
