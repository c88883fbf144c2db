"""House rules that a reader relies on: documented names, rooms of a readable size, a clean tree."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "packages").glob("*/src/recurra/**/*.py"))
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "common", "misc", "base", "manager"}
MAX_LINES = 400
MAX_NETWORK_LINES = 500  # a paper's whole network stays in one file

REGISTRY_HOST = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.]org|debian[.]org|pytorch[.]org/whl"
)
MACHINE_PATH = re.compile(r"(?<![\w.$}~])/(work|tmp|root|home/\w+|Users/\w+)/")
BESIDE_THE_CHECKOUT = "../" + "shared"


def public_definitions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes, and the public methods of those classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body)


@pytest.fixture(scope="session")
def texts(root: Path, project_files: list[Path]) -> dict[str, str]:
    """Contents of every text file of the project by its path; sounds and weights are left out."""
    found = {}
    for name in project_files:
        content = (root / name).read_bytes()
        if b"\0" not in content:
            found[name.as_posix()] = content.decode()
    return found


def id_of(path: Path) -> str:
    return path.relative_to(ROOT / "packages").as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=id_of)
def test_public_names_are_documented(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    bare = [node.name for node in public_definitions(tree.body) if not ast.get_docstring(node)]
    assert bare == []


@pytest.mark.parametrize("path", SOURCES, ids=id_of)
def test_modules_are_of_a_readable_size_and_say_what_they_hold(path: Path) -> None:
    limit = MAX_NETWORK_LINES if path.parent.name == "models" else MAX_LINES
    assert len(path.read_text().splitlines()) <= limit
    assert path.stem not in NAMES_THAT_SAY_NOTHING


@pytest.mark.parametrize("path", SOURCES, ids=id_of)
def test_weights_are_never_unpickled(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    loads = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    for call in loads:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("weights_only") == "True"


def test_no_registry_address_is_in_the_tree(texts: dict[str, str]) -> None:
    assert [name for name, text in texts.items() if REGISTRY_HOST.search(text)] == []


def test_no_path_of_one_machine_is_in_the_tree(texts: dict[str, str]) -> None:
    this_file = Path(__file__).relative_to(ROOT).as_posix()  # has some to try the pattern on
    found = {name for name, text in texts.items() if MACHINE_PATH.search(text)}
    assert found - {this_file} == set()


def test_only_ci_knows_the_folder_beside_the_checkout(texts: dict[str, str]) -> None:
    assert {name for name, text in texts.items() if BESIDE_THE_CHECKOUT in text} <= {".ci/run"}


@pytest.mark.parametrize("path", ["/work/x", "see /tmp/x.wav", '"/root/.cache"', "/home/ann/x"])
def test_a_path_of_one_machine_is_recognised(path: str) -> None:
    assert MACHINE_PATH.search(path)


@pytest.mark.parametrize("path", ["tests/work/x", "$HOME/work/x", "~/work/x", "/home/"])
def test_other_paths_are_not_of_one_machine(path: str) -> None:
    assert not MACHINE_PATH.search(path)
