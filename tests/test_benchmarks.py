"""What the benchmarks import from kiloword is there: nobody runs them all after every change."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def imported(script: Path) -> Iterator[tuple[str, str]]:
    """The modules of kiloword and the names that a script imports from them."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kiloword":
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_its_imports_exist(script):
    for home, name in imported(script):
        module = import_module(home)
        assert hasattr(module, name) or import_module(f"{home}.{name}"), f"{home} has no {name}"


def test_some_import_much():
    assert len(SCRIPTS) > 15 and sum(len(list(imported(script))) for script in SCRIPTS) > 50
