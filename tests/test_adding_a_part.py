"""The blocks of docs/adding-a-part.md, applied to a copy of the package, give parts that obey the laws."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "adding-a-part.md"
BEHIND = "# behind: "
WAYS = ["backwards", "cosines"]  # the page's examples in tests/tiny.py that draw
PROPERTIES = (  # of test_ways.py, each over some of tiny.WAYS: here the page's
    "fast_is_slow", "stopped", "does_not_depend_on_its_batch", "weights_one_and_zero", "shown_token", "class_changes",
)  # fmt: skip
EXAMPLES = 4  # of each property, which the laws try 20 times on the parts of the package
LAWS = ("tests/laws/test_quantizers.py", "tests/laws/test_ways.py", "tests/unit/test_parts.py")


def blocks() -> list[tuple[str, str | None, str]]:
    """The file of each block of the page, the line behind which it goes (None: it is the whole file), and its text."""
    found = []
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        file, _, text = block.partition("\n")
        line, _, rest = text.partition("\n")
        behind = line.removeprefix(BEHIND) if line.startswith(BEHIND) else None
        found.append((file.removeprefix("# "), behind, text if behind is None else rest))
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its tests, without weights and recordings, as the page changes them."""
    skip = shutil.ignore_patterns("*.safetensors", "__pycache__", "recordings", "golden")
    for name in ("src/kiloword", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=skip)
    for name, behind, text in blocks():
        path = tmp_path / name
        if behind is None:
            assert not path.exists(), f"{name} is there already"
            path.write_text(text, encoding="utf-8")
        else:
            replace_once(path, f"\n{behind}\n", f"\n{behind}\n{text}")
    replace_once(tmp_path / "tests/laws/test_ways.py", "sampled_from(list(tiny.WAYS))", f"sampled_from({WAYS})")
    replace_once(tmp_path / "tests/laws/test_ways.py", "sampled_from(tiny.CAUSAL)", f"sampled_from({WAYS})")
    replace_once(tmp_path / "tests/conftest.py", "max_examples=20", f"max_examples={EXAMPLES}")
    return tmp_path


def replace_once(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has this {text.count(old)} times, not once: {old.strip()}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def outcomes(copy: Path, chosen: str) -> dict[str, str]:
    """What became of each of the copy's tests that are chosen, by name."""
    command = [sys.executable, "-m", "pytest", *LAWS, "-k", chosen, "-rA", "-q", "--tb=no", "--color=no"]
    plain = ["-o", "addopts=--import-mode=importlib", "-o", "pythonpath=tests", "--rootdir=.", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    ran = subprocess.run([*command, *plain], cwd=copy, env=environment, capture_output=True, text=True, check=False)
    found = {name: outcome for outcome, name in re.findall(r"^(PASSED|FAILED|ERROR) \S+?::(\S+)", ran.stdout, re.M)}
    assert found, ran.stdout + ran.stderr
    return found


def test_the_parts_of_the_page_obey_the_laws(copy: Path):
    found = outcomes(copy, " or ".join(["lfq", "backwards", "cosine", "of_the_table", *PROPERTIES]))
    assert set(found.values()) == {"PASSED"}, found
    for name in ("lfq", "backwards", "cosines", "LFQConfig", "BackwardsConfig", "CosineConfig", *PROPERTIES):
        assert any(name in test for test in found), f"no law was tried on {name}"


def test_a_part_that_breaks_a_law_or_has_no_example_is_found(copy: Path):
    replace_once(copy / "src/kiloword/tokenizers/lfq.py", ".masked_fill(tokens == UNKNOWN, 0.0)", "")
    replace_once(copy / "tests/unit/test_parts.py", "    parts.CosineConfig(Categorical(4), 8),\n", "")
    found = outcomes(copy, "lfq or every_part_of_the_table")
    assert {test for test, outcome in found.items() if outcome != "PASSED"} == {
        "test_unknown_tokens_look_up_to_zero[lfq]", "test_every_part_of_the_table_has_an_example_here",
    }  # fmt: skip
