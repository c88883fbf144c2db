"""What every Triton kernel keeps to, read from its source: neither a GPU nor Triton is needed."""

import ast
from pathlib import Path

import pytest

from recurra.core import kernels

SOURCES = sorted(Path(kernels.__file__).parent.glob("*/triton*.py"))
each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")


@each_source
def test_what_is_loaded_is_float32_at_once(path: Path) -> None:
    """A sum in 16 bits would be rounded; booleans are compared instead."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    fine = {id(node.left) for node in nodes if isinstance(node, ast.Compare)}
    for call in calls:
        if isinstance(call.func, ast.Attribute) and ast.unparse(call).endswith(".to(tl.float32)"):
            fine.add(id(call.func.value))
    loads = [call for call in calls if ast.unparse(call.func) == "tl.load"]
    assert [ast.unparse(load) for load in loads if id(load) not in fine] == []


@each_source
def test_loops_over_numbers_that_are_no_constants_are_while_loops(path: Path) -> None:
    """Triton's interpreter cannot run `range` over them with every numpy."""
    functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]
    kernels = [
        f for f in functions if any("triton.jit" in ast.unparse(d) for d in f.decorator_list)
    ]
    loops = [node for f in kernels for node in ast.walk(f) if isinstance(node, ast.For)]
    iterated = [ast.unparse(loop.iter) for loop in loops]
    assert [text for text in iterated if not text.startswith("tl.static_range(")] == []


def test_the_sources_are_found() -> None:
    assert {"linear_scan", "selective_scan", "ssd"} <= {path.parent.name for path in SOURCES}
