"""The table of `docs/layers.md` has every layer, and says of it what the laws hold it to."""

import re
from pathlib import Path

import pytest
from tests.core.laws.cases import CASES
from torch import nn

from recurra.core import kernels, layers

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "layers.md").read_text()
ROWS = {
    cells[0].strip("`"): cells
    for line in PAGE.splitlines()
    if line.startswith("| `")
    for cells in [[cell.strip() for cell in line.split("|")[1:-1]]]
}
NAMES = [name for name in layers.__all__ if isinstance(getattr(layers, name), type)]


def cases_of(name):
    return [case for case in CASES if case.name.split()[0] == name]


def test_every_layer_has_a_row_and_no_other():
    assert sorted(ROWS) == sorted(NAMES)
    assert all(issubclass(getattr(layers, name), nn.Module) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_is_held_to_the_laws(name):
    assert cases_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_columns_say_what_the_layer_declares(name):
    _, _, _, _, streams, exports, gpu, *_ = ROWS[name]
    declared = {case.streams for case in cases_of(name)}
    if declared == {True}:
        assert streams == "yes"
    elif declared == {False}:
        assert streams.startswith("no")
    else:
        assert streams not in ("yes", "no")
    free = {not case.loops for case in cases_of(name)}
    assert free == {exports == "any T"}
    named = re.findall(r"`(\w+)`", gpu)
    assert named or gpu == "no"
    assert set(named) <= set(kernels.__all__)
    folders = Path(kernels.__file__).parent
    assert all((folders / kernel / "triton.py").is_file() for kernel in named)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_column_names_the_apps_that_make_the_layer(name):
    makes = re.compile(rf"\b{name}\(")
    apps = {
        path.relative_to(ROOT / "packages").parts[0]
        for path in (ROOT / "packages").glob("*/src/**/*.py")
        if makes.search(path.read_text())
    }
    named = set(re.findall(r"\b(\w+):", ROWS[name][-1]))
    assert named == apps - {"core"}
