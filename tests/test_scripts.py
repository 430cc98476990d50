"""What benchmarks and examples import from kiloword is there, and a small run of the toy comes to its end."""

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted([*ROOT.glob("benchmarks/*.py"), *ROOT.glob("examples/*.py")])


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


def test_the_toy_runs_from_pixels_to_pictures(monkeypatch, tmp_path):
    spec = spec_from_file_location("toy", ROOT / "examples/toy.py")
    toy = module_from_spec(spec)
    spec.loader.exec_module(toy)
    teach = toy.teach
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(toy, "WORLD", toy.WORLD[:12] + toy.WORLD[-3:])
    monkeypatch.setattr(toy, "teach", lambda name, module, iterations, *rest: teach(name, module, 2, *rest))
    toy.main()
    with Image.open("toy.png") as sheet:
        assert sheet.width == 6 * (3 * toy.SIDE + 4)
