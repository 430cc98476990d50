"""Who may import whom: the contracts in pyproject.toml hold, and there are no circular imports."""

import ast
import os
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"


def modules(source: Path) -> dict[str, Path]:
    """All modules below a folder by their dotted names; a package goes by its __init__.py."""
    found = {}
    for path in source.rglob("*.py"):
        steps = path.relative_to(source).with_suffix("").parts
        found[".".join(steps[:-1] if steps[-1] == "__init__" else steps)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules that a file imports anywhere in it, functions included; `from a import b` is a.b where there is one.

    Left out are packages on the way to a module, which Python runs first.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield from (name for name in (inside if inside in known else node.module,) if name in known)


def circle(source: Path) -> list[str]:
    """The modules of an import circle, or none."""
    known = modules(source)
    try:
        TopologicalSorter({name: set(imported(path, known)) for name, path in known.items()}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_import_breaks_the_layers(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename=os.fspath(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


def test_there_are_no_circular_imports():
    assert not (found := circle(SOURCE)), " -> ".join(found)


@pytest.mark.parametrize(
    "imports", ["import p.b", "from p import b", "from p.b import x", "def f():\n    from p import b"]
)
def test_circles_are_found_however_they_are_written(tmp_path, imports):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "__init__.py").write_text("")
    (tmp_path / "p" / "a.py").write_text(imports)
    (tmp_path / "p" / "b.py").write_text("x = 1")
    assert not circle(tmp_path)
    (tmp_path / "p" / "b.py").write_text("def g():\n    import p.a")
    assert set(circle(tmp_path)) == {"p.a", "p.b"}


def test_no_two_files_have_one_name():
    count = Counter(path.name for path in SOURCE.rglob("*.py") if path.name != "__init__.py")
    assert not [name for name, times in count.items() if times > 1]
