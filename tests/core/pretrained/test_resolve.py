"""Names of models: shipped, then local, then the Hub, which is a cache laid out here, offline."""

import sys
from pathlib import Path

import huggingface_hub.constants
import pytest

from recurra.core.errors import MissingExtraError, RecurraError
from recurra.core.pretrained import resolve, shipped_names

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "fedcba9876543210fedcba9876543210fedcba98"


def model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model": "tiny"}')
    return folder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable namespace package that ships two models, as `recurra.speech.weights` does."""
    root = tmp_path / "site"
    model_folder(root / "shipping_weights" / "tiny-b")
    model_folder(root / "shipping_weights" / "tiny-a")
    (root / "shipping_weights" / "notes").mkdir()
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.delitem(sys.modules, "shipping_weights", raising=False)
    monkeypatch.chdir(tmp_path)
    return "shipping_weights"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that huggingface_hub keeps its downloads in, holding owner/tiny at two commits."""
    cache = tmp_path / "hub"
    repository = cache / "models--owner--tiny"
    model_folder(repository / "snapshots" / COMMIT)
    model_folder(repository / "snapshots" / OLDER)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return cache


def test_shipped_name_is_found_in_the_package(package: str, tmp_path: Path) -> None:
    assert resolve("tiny-a", shipped_in=package) == tmp_path / "site/shipping_weights/tiny-a"


def test_only_folders_with_a_config_ship(package: str) -> None:
    assert shipped_names(package) == ["tiny-a", "tiny-b"]


def test_package_without_weights_ships_nothing() -> None:
    assert shipped_names("recurra.core.no_such_weights") == []


def test_shipped_name_wins_over_a_local_folder_unless_written_as_a_path(
    package: str, tmp_path: Path
) -> None:
    model_folder(tmp_path / "tiny-a")
    assert resolve("tiny-a", shipped_in=package) == tmp_path / "site/shipping_weights/tiny-a"
    assert resolve("./tiny-a", shipped_in=package).resolve() == tmp_path / "tiny-a"


def test_local_folder_wins_over_the_hub(hub_cache: Path, tmp_path: Path) -> None:
    model_folder(tmp_path / "owner" / "tiny")
    assert resolve("owner/tiny", shipped_in=None).resolve() == tmp_path / "owner/tiny"


def test_hub_id_is_found_in_the_cache_without_a_network(hub_cache: Path) -> None:
    assert resolve("owner/tiny", shipped_in=None) == (
        hub_cache / "models--owner--tiny" / "snapshots" / COMMIT
    )


def test_revision_picks_the_commit_and_skips_local_folders(hub_cache: Path, tmp_path: Path) -> None:
    model_folder(tmp_path / "owner" / "tiny")
    assert resolve("owner/tiny", shipped_in=None, revision=OLDER).name == OLDER


def test_revision_of_something_that_is_not_on_the_hub_is_refused(package: str) -> None:
    with pytest.raises(RecurraError, match="Hub id"):
        resolve("tiny-a", shipped_in=package, revision="main")


def test_unknown_name_lists_what_was_tried_and_what_ships(package: str) -> None:
    with pytest.raises(RecurraError) as caught:
        resolve("tinny", shipped_in=package)
    assert str(caught.value) == (
        "no model 'tinny'; shipped are tiny-a, tiny-b; no such folder; "
        "not a Hugging Face Hub id (owner/name)"
    )


def test_hub_failure_is_one_line_that_names_the_model(hub_cache: Path) -> None:
    with pytest.raises(RecurraError, match=r"no model 'owner/other'.*Hugging Face Hub: ") as caught:
        resolve("owner/other", shipped_in=None)
    assert "\n" not in str(caught.value)


def test_path_that_climbs_is_never_sent_to_the_hub(hub_cache: Path) -> None:
    with pytest.raises(RecurraError, match="not a Hugging Face Hub id"):
        resolve("../tiny", shipped_in=None)


def test_folder_without_config_and_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(RecurraError, match=r"without config\.json"):
        resolve(tmp_path / "plain", shipped_in=None)
    with pytest.raises(RecurraError, match="is a file"):
        resolve(tmp_path / "weights.safetensors", shipped_in=None)


def test_missing_hub_library_names_the_command_and_what_else_was_tried(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        MissingExtraError, match=r"shipped are.*uv pip install 'recurra-core\[hub\]'"
    ):
        resolve("runs/best", shipped_in=package)
