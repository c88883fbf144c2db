"""Imports run one way; what a command imports before it runs is light."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "packages"

# What each room of core may import of core, beside the modules that every room may.
OF_EVERY_ROOM = {
    f"recurra.core.{name}" for name in ("devices", "errors", "files", "interruption", "workers")
}
CORE_ROOMS = {
    "errors": set(),
    "interruption": set(),
    "workers": set(),
    "bootstrap": set(),
    "devices": set(),
    "files": set(),
    "memory": set(),
    "onnx_file": set(),
    "kernels": {"kernels"},
    "layers": {"kernels", "layers"},
    "training": {"kernels", "layers", "training"},
    "pretrained": {"pretrained"},
    "cli": {"cli"},
}
# The rooms of an app from the bottom up; modules that stand in no room are verbs.
APP_RANKS = {"audio": 0, "data": 0, "baselines": 1, "models": 1, "cli": 3}
VERB_RANK = 2
# Beside the standard library; rich, pydantic, yaml and numpy are imported by functions.
LIGHT = {*sys.stdlib_module_names, "typer"}


def module_name(path: Path) -> str:
    """`packages/core/src/recurra/core/cli/app.py` -> `recurra.core.cli.app`."""
    parts = path.relative_to(PACKAGES).with_suffix("").parts[2:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(tree: ast.AST, *, whole: bool) -> Iterator[str]:
    """Names of the modules that are imported; with `whole`, in functions too."""
    for node in ast.walk(tree) if whole else top_level(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which way they point"
            # `from recurra.core import errors` imports the module recurra.core.errors.
            yield from (
                full if (full := f"{node.module}.{alias.name}") in MODULES else str(node.module)
                for alias in node.names
            )


def top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        only_for_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith(
            "TYPE_CHECKING"
        )
        if not only_for_types and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from top_level(node)


SOURCES = sorted(PACKAGES.glob("*/src/recurra/**/*.py"))
MODULES = {module_name(path): path for path in SOURCES}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def broken_core_rule(name: str, other: str) -> bool:
    if other in OF_EVERY_ROOM:
        return False
    room, target = name.split(".")[2:3], other.split(".")[2:3]
    return bool(room) and (not target or target[0] not in CORE_ROOMS[room[0]])


def broken_app_rule(name: str, other: str) -> bool:
    if other.split(".")[1] != name.split(".")[1]:
        return other.split(".")[1] != "core"
    here, there = name.split(".")[2:], other.split(".")[2:]
    if not here or not there:
        return bool(here)  # the package itself has nothing that its modules could want
    rank, target = (APP_RANKS.get(parts[0], VERB_RANK) for parts in (here, there))
    return target > rank or (rank == target == 0 and here[0] != there[0])


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name: str) -> None:
    is_broken = broken_core_rule if name.startswith("recurra.core") else broken_app_rule
    ours = [m for m in imported_by(TREES[name], whole=True) if m.split(".")[0] == "recurra"]
    assert [other for other in ours if is_broken(name, other)] == []


def test_a_room_of_core_is_known_to_these_rules() -> None:
    rooms = {name.split(".")[2] for name in MODULES if name.startswith("recurra.core.")}
    assert rooms == CORE_ROOMS.keys()


@pytest.mark.parametrize(
    ("name", "other", "broken"),
    [
        ("recurra.core.kernels.fir", "recurra.core.layers", True),
        ("recurra.core.layers.fsmn", "recurra.core.kernels", False),
        ("recurra.core.training.fit", "recurra.core.pretrained", True),
        ("recurra.core.cli.app", "recurra.core.errors", False),
        ("recurra.core.cli.app", "recurra.speech.enhancer", True),
        ("recurra.speech.models.frcrn", "recurra.core.layers", False),
        ("recurra.speech.models.frcrn", "recurra.vision.models", True),
        ("recurra.speech.models.frcrn", "recurra.speech.enhancer", True),
        ("recurra.speech.audio.read", "recurra.speech.data.decode", True),
        ("recurra.speech.enhancer", "recurra.speech.cli", True),
        ("recurra.speech.enhance_files", "recurra.speech.enhancer", False),
    ],
)
def test_the_rules_tell_right_from_wrong(name: str, other: str, broken: bool) -> None:
    is_broken = broken_core_rule if name.startswith("recurra.core") else broken_app_rule
    assert is_broken(name, other) is broken


def test_modules_import_each_other_in_no_circle() -> None:
    graph = {
        name: {other for other in imported_by(tree, whole=False) if other in MODULES}
        # A package's `__init__` runs before its modules and gathers them: no edge back to it.
        - {name.rpartition(".")[0]}
        for name, tree in TREES.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def loaded_with(name: str) -> set[str]:
    """The modules of ours that importing `name` imports, and their packages."""
    loaded: set[str] = set()
    waiting = {name}
    while waiting:
        found = waiting.pop()
        loaded.add(found)
        waiting |= set(imported_by(TREES[found], whole=False)) & MODULES.keys()
        waiting |= {found.rpartition(".")[0]} & MODULES.keys()
        waiting -= loaded
    return loaded


COMMANDS = [name for name in MODULES if name.count(".") == 2 and name.endswith(".cli")]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_imports_before_it_runs_is_light(command: str) -> None:
    heavy = {
        f"{name}: {other}"
        for name in loaded_with(command)
        for other in imported_by(TREES[name], whole=False)
        if other not in MODULES and other.split(".")[0] not in LIGHT
    }
    assert heavy == set()


def test_recurra_is_a_namespace_package() -> None:
    """Each wheel brings its own part: an `__init__.py` of one would hide the others."""
    assert [path for path in PACKAGES.glob("*/src/recurra/__init__.py")] == []
