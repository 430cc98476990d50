"""The docs agree with the disk, their links have targets, and the README is short.

`python tests/test_docs.py` updates what is generated: the tree, and the layers of imports.
"""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]
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


def layers() -> str:
    """The layers of the package in the import contract, the highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return "".join(f"{layer}\n" for layer in settings["tool"]["importlinter"]["contracts"][0]["layers"])


WRITTEN = {"tree": (ROOT / "docs" / "tree.md", tree), "layers": (ROOT / "docs" / "architecture.md", layers)}


def around(name: str) -> tuple[str, str, str]:
    """The text of a page before the block of that name, in it, and after it."""
    text = WRITTEN[name][0].read_text(encoding="utf-8")
    before, begin, rest = text.partition(f"<!-- {name}: written by tests/test_docs.py -->\n```\n")
    block, end, after = rest.partition(f"```\n<!-- end of {name} -->\n")
    return before + begin, block, end + after


def anchors(page: Path) -> set[str]:
    """What a code host calls the headings of a page: in small letters, hyphens for spaces, no other signs."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """The links of a page, to files or headings here, without a target."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" not in link and not (target.exists() and (not heading or heading in anchors(target))):
            found.append(link)
    return found


@pytest.mark.parametrize("name", WRITTEN)
def test_generated_blocks_are_current(name):
    assert around(name)[1] == WRITTEN[name][1](), f"the {name} in the docs are old: run `python tests/test_docs.py`"


def test_the_words_are_in_the_order_of_the_alphabet():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = [word.lower().replace("_", " ") for word in re.findall(r"^\| \*\*(.+?)\*\* \|", text, re.MULTILINE)]
    assert len(words) > 50 and words == sorted(set(words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_have_targets(page):
    assert broken(page) == []


def test_a_link_without_a_target_is_found(tmp_path):
    page = tmp_path / "page.md"
    links = "[a](page.md#a-page) [b](#b) ![c](c.png) [d](https://d.org) `[e](e.md)`"
    page.write_text(f"# A page\n{links}\n", encoding="utf-8")
    assert broken(page) == ["#b", "c.png"]


def test_every_page_can_be_reached_from_the_readme():
    reached, new = set(), {README}
    while new:
        page = new.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^)\s#]+\.md)", page.read_text(encoding="utf-8"))
        new |= {(page.parent / link).resolve() for link in links if "://" not in link} - reached
    assert {page.resolve() for page in PAGES} <= {page.resolve() for page in reached}


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 180


def test_two_commands_do_all_the_set_up():
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    set_up = [line for block in blocks for line in block.splitlines() if line.startswith("pip install")]
    assert set_up == [
        'pip install . && kiloword generate "a red apple" -o apple.png', "pip install -e '.[dev]' && pytest",
    ]  # fmt: skip


if __name__ == "__main__":
    for name, (page, write) in WRITTEN.items():
        before, _, after = around(name)
        page.write_text(before + write() + after, encoding="utf-8")
