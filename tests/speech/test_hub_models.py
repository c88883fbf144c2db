"""`--model owner/name`: from the Hub's cache without a network, or one line that says why not.

The Hub is a cache laid out here, or a server of this machine; nothing goes out.
"""

import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import soundfile

from recurra.core.cli import run
from recurra.speech.cli import app

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def enhance(model, tmp_path, monkeypatch):
    """Clean a file with a model of the Hub, whose cache holds owner/tiny."""
    repository = tmp_path / "hub" / "models--owner--tiny"
    shutil.copytree(model, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", 0.1 * np.random.default_rng(0).standard_normal(8000), 16000)
    return lambda name: run(app, "recurra-speech", ["enhance", "a.wav", "--model", name])


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def server(monkeypatch):
    """Answer as the Hub does for an id that it does not have, or as the test wants."""

    class Answer(BaseHTTPRequestHandler):
        status, code = 404, "RepoNotFound"

        def do_GET(self):
            self.send_response(self.status)
            self.send_header("X-Error-Code", self.code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            return

    with HTTPServer(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        yield Answer
        running.shutdown()
        thread.join()


def only_line(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_model_in_the_cache_cleans_a_file_without_a_network(enhance, offline):
    assert enhance("owner/tiny") == 0
    assert soundfile.info("a.enhanced.wav").frames == 8000


def test_an_official_checkpoint_of_the_hub_is_sent_to_its_import(enhance, offline, capsys):
    Path("hub", "models--owner--tiny", "snapshots", COMMIT, "config.json").unlink()
    assert enhance("owner/tiny") == 2
    assert only_line(capsys).endswith(
        "owner/tiny on the Hugging Face Hub has no config.json: of an official checkpoint make a "
        "model folder: recurra-speech import-checkpoint owner/tiny -o DIR"
    )


def test_a_model_that_is_not_in_the_cache_says_why_it_is_not_fetched(enhance, offline, capsys):
    assert enhance("owner/other") == 2
    line = only_line(capsys)
    assert "no model 'owner/other'; shipped are" in line
    assert line.endswith("HF_HUB_OFFLINE is set; unset it, or give a model folder")
    assert not Path("a.enhanced.wav").exists()


def test_no_network_is_named_and_a_cached_model_needs_none(enhance, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert enhance("owner/other") == 2
    assert only_line(capsys).endswith("check the network, or give a model folder")
    assert enhance("owner/tiny") == 0


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (
            404,
            "RepoNotFound",
            "no such id, or it is private; check the spelling, or `hf auth login`",
        ),
        (403, "GatedRepo", "give it on the model's page, then `hf auth login`"),
        (404, "RevisionNotFound", "it has no such revision"),
    ],
)
def test_an_id_that_the_hub_refuses_is_one_line_with_the_remedy(
    enhance, server, capsys, status, code, remedy
):
    server.status, server.code = status, code
    assert enhance("owner/wrong") == 2
    assert only_line(capsys).endswith(remedy)


def test_what_is_no_id_is_never_asked_for(enhance, server, capsys):
    assert enhance("owner//tiny") == 2
    assert only_line(capsys).endswith("not a Hugging Face Hub id (owner/name)")


def test_the_missing_extra_is_named_with_its_command(enhance, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert enhance("owner/tiny") == 2
    assert "uv pip install 'recurra-core[hub]'" in only_line(capsys)
