"""What the pages say holds: commands run, links lead somewhere, tables are whole."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from recurra.speech.cli import app

ROOT = Path(__file__).resolve().parents[2]
# An HTML comment before a block says how it is checked; without one it is run as it is written.
BLOCK = re.compile(
    r"(?:<!-- checked by: (?P<how>[\w.-]+).*? -->\n)?```(?P<language>\w+)\n(?P<code>.*?)```", re.S
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/conventions.md",
    "docs/layers.md",
    "docs/recsys.md",
    "docs/training.md",
    "packages/core/README.md",
    "packages/speech/README.md",
    "packages/recsys/README.md",
    "benchmarks/README.md",
]
# A subcommand, or a script that has some.
COMMAND_WORD = re.compile(r"[a-z][a-z-]*|benchmarks/\w+\.py")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `how` is "run", "help" (downloads, devices) or "ci"."""

    how: str
    language: str
    code: str

    def commands(self) -> list[list[str]]:
        """Its command lines in words, without settings of variables and what is piped away."""
        lines = self.code.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [[w for w in line if not re.match(r"[A-Z_]+=", w)] for line in words if line]


def blocks_of(page: str) -> list[Block]:
    found = BLOCK.finditer((ROOT / page).read_text())
    return [Block(match["how"] or "run", match["language"], match["code"]) for match in found]


def run(command: list[str], folder: Path, **changes: str) -> str:
    """Run a command in a copy of the tree; what it prints."""
    dropped = ("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    env = {k: v for k, v in os.environ.items() if k not in dropped} | changes
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# The environment of the checkout serves the copy too: same code, and nothing is installed again.
IN_THIS_ENVIRONMENT = {"UV_NO_SYNC": "1", "UV_PROJECT_ENVIRONMENT": sys.prefix}


@pytest.fixture
def tree(copy_project: Callable[[Path], Path], tmp_path: Path) -> Path:
    """A copy of the project to run commands in."""
    return copy_project(tmp_path / "recurra")


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        pytest.param("packages/speech/README.md", marks=pytest.mark.slow),
        pytest.param("packages/recsys/README.md", marks=pytest.mark.slow),
        pytest.param("packages/core/README.md", marks=pytest.mark.slow),
        pytest.param("docs/recsys.md", marks=pytest.mark.slow),
        pytest.param("docs/training.md", marks=pytest.mark.slow),
        "docs/layers.md",
    ],
)
def test_commands_and_examples_run_as_written(page: str, tree: Path) -> None:
    start = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    blocks = [b for b in blocks_of(page) if b.how == "run" and b.language in start]
    assert blocks
    for block in blocks:
        run([*start[block.language], block.code], tree, **IN_THIS_ENVIRONMENT)


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_not_run_exist_with_their_options(page: str, tree: Path) -> None:
    for block in blocks_of(page):
        for words in block.commands() if block.how == "help" else ():
            first_argument = next(
                (i for i, word in enumerate(words) if not COMMAND_WORD.fullmatch(word)),
                len(words),
            )
            shown = run([*words[:first_argument], "--help"], tree, **IN_THIS_ENVIRONMENT)
            for option in (word for word in words if re.match(r"--?[a-z]", word)):
                assert re.search(rf"{option}\b", shown), f"{words}: {option} is no option"


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_ci_are_what_ci_runs(page: str) -> None:
    script = (ROOT / ".ci" / "run").read_text()
    for block in blocks_of(page):
        for line in block.code.splitlines() if block.how == "ci" else ():
            command = line.partition("#")[0].strip()
            assert re.search(rf"(^|\s){re.escape(command)}$", script, re.M), command


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_checked_in_a_way_that_is_known(page: str) -> None:
    blocks = blocks_of(page)
    assert {block.how for block in blocks} <= {"run", "help", "ci"}
    assert len(blocks) == (ROOT / page).read_text().count("```") / 2
    assert {block.language for block in blocks} <= {"bash", "python"}


@pytest.mark.slow
def test_the_first_command_needs_nothing_but_uv(tree: Path) -> None:
    first = next(block for block in blocks_of("README.md") if block.language == "bash")
    assert "uv run recurra-speech enhance examples/noisy.wav" in first.code
    environment = tree / ".venv"
    assert not environment.exists()
    printed = run(["bash", "-euc", first.code], tree, UV_PROJECT_ENVIRONMENT=".venv")
    assert "wrote examples/noisy.enhanced.wav" in printed
    assert environment.is_dir()


@pytest.mark.parametrize("page", PAGES)
def test_links_inside_the_tree_lead_somewhere(page: str) -> None:
    prose = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.M | re.S)
    targets = LINK.findall(prose)
    assert [t for t in targets if not (ROOT / page).parent.joinpath(t).exists()] == []


def test_the_page_of_benchmarks_names_every_script() -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text()
    scripts = [path.name for path in (ROOT / "benchmarks").glob("*.py")]
    assert [script for script in scripts if f"`{script}`" not in page] == []


def test_the_speech_page_names_every_command_and_extra() -> None:
    page = (ROOT / "packages" / "speech" / "README.md").read_text()
    commands = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    groups = [str(group.name) for group in app.registered_groups]
    project = tomllib.loads((ROOT / "packages" / "speech" / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    assert [c for c in [*commands, *groups] if f"recurra-speech {c} " not in page] == []
    assert [extra for extra in extras if f"| `{extra}` |" not in page] == []


def test_every_file_that_states_the_version_states_the_same() -> None:
    projects = [ROOT / "pyproject.toml", *(ROOT / "packages").glob("*/pyproject.toml")]
    versions = {tomllib.loads(p.read_text())["project"]["version"] for p in projects}
    assert len(versions) == 1
    version = versions.pop()
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == version
