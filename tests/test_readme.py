"""The README's tree and the disk agree; `python tests/test_readme.py` writes the tree anew from the disk."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- tree: written by tests/test_readme.py -->\n```\n", "```\n<!-- end of tree -->\n"
SMALL = {
    ".ci/run": "Everything that must hold before a change goes in",
    "LICENSE": "Apache License 2.0",
    "NOTICE": "Every data source, its licence and its credit",
    "pyproject.toml": "Dependencies, the settings of all tools, the layers",
}
FOLDERS = {
    "benchmarks": "Speed, measured beside transformers and a plain loop",
    "docs": "",
    "examples": "",
    "src/kiloword": "The package",
    "src/kiloword/weights": "The shipped models: weights.safetensors and config.json each",
    "tests": "unit/ mirrors the source; laws/ for every part; engine/ fast equals slow; golden/ files; e2e/ the CLI",
}
WHOLE = ("benchmarks", "docs", "examples", "src/kiloword")  # folders whose files are listed one by one


def tree() -> str:
    """Folders and files with a line each, taken from the first line of what is there."""
    lines = [_line(0, name, said) for name, said in SMALL.items() if (ROOT / name).exists()]
    for name, said in FOLDERS.items():
        folder = ROOT / name
        if name.count("/") < 2 and any(path.is_file() for path in folder.rglob("*")):
            lines.append(_line(0, name + "/", said or _said(folder)))
            lines += _inside(folder, 1) if name in WHOLE else []
    return "".join(lines)


def _inside(folder: Path, depth: int) -> list[str]:
    lines = []
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        name = path.relative_to(ROOT).as_posix()
        if path.is_dir() and (name in FOLDERS or any(path.glob("*.py"))):
            lines.append(_line(depth, path.name + "/", FOLDERS.get(name) or _said(path)))
            lines += [] if name in FOLDERS else _inside(path, depth + 1)
        elif path.suffix in (".py", ".md") and path.name != "__init__.py":
            lines.append(_line(depth, path.name, _said(path)))
    return lines


def _said(path: Path) -> str:
    """The first line of a module, a package or a page."""
    if path.is_dir():
        return _said(path / "__init__.py") if (path / "__init__.py").exists() else ""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text.splitlines()[0].lstrip("# ")
    first = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return re.sub(r" \([^()]*\d{4}[^()]*\)", "", first).rstrip(".")  # without citations


def _line(depth: int, name: str, said: str) -> str:
    return f"{'  ' * depth + name:<28}{said}".rstrip() + "\n"


def in_readme() -> str:
    text = README.read_text(encoding="utf-8")
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)]


def test_the_tree_and_the_disk_agree():
    assert in_readme() == tree(), "the README's tree is old: run `python tests/test_readme.py`"


def test_two_commands_do_all_the_set_up():
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    set_up = [line for block in blocks for line in block.splitlines() if line.startswith("pip install")]
    assert set_up == [
        'pip install . && kiloword generate "a red apple" -o apple.png', "pip install -e '.[dev]' && pytest",
    ]  # fmt: skip


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    README.write_text(before + BEGIN + tree() + after, encoding="utf-8")
    sys.exit(0)
