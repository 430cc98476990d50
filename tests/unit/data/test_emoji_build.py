"""Tests of data/emoji/build.py from packages to shards, on tiny packages and without network.

Source: the real build, whose packages these imitate (see conftest.py).
"""

import json
import os
import signal
import subprocess
import sys

import pytest

from kiloword.data.emoji import build as building
from kiloword.data.emoji.build import build
from kiloword.data.emoji.plan import plan
from kiloword.data.emoji.sources import STYLES
from kiloword.data.emoji.summary import complete, load_summary
from kiloword.data.shards import load_metadata, read, shard_paths

pytestmark = pytest.mark.filterwarnings("ignore:style .* expected about")


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr("kiloword.data.emoji.plan.PER_SHARD", 10)


@pytest.fixture
def make(tmp_path, fetch, small_shards):
    def make_set(name="set", **more):
        folder = tmp_path / name
        return folder, build(folder, **{"size": 16, "cache": tmp_path / "cache", "fetch": fetch, "workers": 1, **more})

    return make_set


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_whole_set(make):
    folder, summary = make()
    records = load_metadata(folder)
    assert complete(folder) and load_summary(folder) == summary
    assert summary.styles == {"3d": 10, "flat": 10, "gradient": 10, "noto": 12, "twemoji": 12}
    assert (summary.codes, summary.codes_in_all_styles, summary.shards, summary.left_out) == (12, 10, 6, [])
    assert summary.sources["@discordapp/twemoji@16.0.1"] == "CC-BY-4.0"
    assert [sample.metadata for sample in read(folder)] == records and len(records) == summary.pictures == 54
    assert [(record["code"], record["style"]) for record in records] == sorted(
        (record["code"], record["style"]) for record in records
    )
    assert all(sample.picture.size == (16, 16) for sample in read(folder))
    assert all((folder / record["shard"]).exists() for record in records)


def test_metadata_of_a_picture(make):
    folder, _ = make()
    records = {record["key"]: record for record in load_metadata(folder)}
    apple = records["1f34e-flat"]
    assert apple["caption"] == apple["translations"]["en"] == apple["translations"]["ja"] == "red apple"
    assert apple["keywords"] == ["fruit", "red", "school lunch"]
    assert (apple["group"], apple["subgroup"], apple["style"], apple["license"]) == ("things", "thing", "flat", "MIT")
    assert apple["source"] == "@lobehub/fluent-emoji-flat@1.1.0"
    pair = records["1f469-1f3fb-200d-1f91d-200d-1f469-1f3ff-3d"]
    assert (pair["base"], pair["skin_tones"]) == ("1f46d", ["light", "dark"])
    assert records["1f44b-1f3fb-noto"]["translations"]["de"] == "waving hand: light skin tone"
    assert records["1f1e9-1f1ea-noto"]["caption"] == "flag of Germany" and "1f1e9-1f1ea-flat" not in records
    assert records["0023-20e3-twemoji"]["caption"] == "keycap #" and records["00a9-twemoji"]["caption"] == "copyright"
    assert "1f3f4-e0067-e0062-e0065-e006e-e0067-e007f-twemoji" in records


def test_skin_tones_share_the_split_of_their_base(make):
    folder, _ = make()
    split_of = {}
    for record in load_metadata(folder):
        assert split_of.setdefault((record["base"], record["style"]), record["split"]) == record["split"]


def test_the_same_bytes_again_whatever_the_number_of_processes(make):
    first, _ = make("first")
    second, _ = make("second", workers=2)
    assert bytes_of(first) == bytes_of(second)


def test_a_second_run_renders_nothing_and_a_stopped_one_goes_on(make, monkeypatch):
    folder, _ = make()
    before = bytes_of(folder)
    shard_paths(folder)[1].unlink()
    damaged = shard_paths(folder)[3]
    damaged.write_bytes(damaged.read_bytes()[:5000])
    (folder / "summary.json").unlink()
    (folder / ".shard-00001.tar.part").write_bytes(b"begun")
    assert not complete(folder)
    rendered = []
    whole = building._render_shard
    monkeypatch.setattr(building, "_render_shard", lambda job: rendered.append(job.path.name) or whole(job))
    reports = []
    make(progress=lambda done, total: reports.append((done, total)))
    assert rendered == ["shard-00001.tar", damaged.name]
    assert bytes_of(folder) == before and reports[-1] == (54, 54)
    make()
    assert len(rendered) == 2


def test_bad_blank_and_repeated_drawings_are_left_out(make, fetch):
    space = 'xmlns="http://www.w3.org/2000/svg"'
    circle = '<circle cx="16" cy="16" r="9" fill="red"/>'
    fetch.overrides["@lobehub/fluent-emoji-flat"] = {
        "assets/1f34e.svg": b"<svg this is no drawing",
        "assets/1f44b.svg": f'<svg {space} viewBox="0 0 32 32"/>'.encode(),
        "assets/1f44b-1f3fb.svg": f'<svg {space} viewBox="0 0 32 32">{circle}</svg>'.encode(),
        "assets/1f44b-1f3ff.svg": f'<svg {space} viewBox="0 0 32 32"><!-- again -->{circle}</svg>'.encode(),
        "assets/1f466.svg": f'<svg {space} viewBox="0 0 32 32">{circle}</svg>'.encode(),
    }
    with pytest.warns(UserWarning, match="left out 1f34e-flat, it does not render"):
        folder, summary = make(styles=("flat",))
    assert summary.left_out == ["1f34e-flat", "1f44b-flat", "1f44b-1f3ff-flat"]
    keys = {record["key"] for record in load_metadata(folder)}
    assert "1f44b-1f3fb-flat" in keys and "1f466-flat" not in keys  # equal drawings: the first is kept


def test_a_folder_of_other_settings_is_refused(make, tmp_path):
    folder, _ = make()
    with pytest.raises(ValueError, match="other settings: choose another folder"):
        make(size=32)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    with pytest.raises(ValueError, match="is not empty"):
        make("mine")
    assert complete(folder) and (tmp_path / "mine" / "letter.txt").exists()


def test_wrong_arguments(make):
    with pytest.raises(ValueError, match="size is 4 pixels: choose 8 to 1024"):
        make(size=4)
    with pytest.raises(ValueError, match=r"unknown styles \['cubist'\]"):
        make(styles=("flat", "cubist"))


def test_an_unexpected_count_is_told(make):
    with pytest.warns(UserWarning, match="style flat has 10 pictures, expected about 3010"):
        make(styles=("flat",))


def test_the_plan_of_some_styles_is_part_of_the_plan_of_all(tmp_path, fetch):
    everything = {picture.metadata["key"]: picture for picture in plan(tuple(STYLES), tmp_path, fetch)}
    for picture in plan(("noto", "3d"), tmp_path, fetch):
        assert picture.drawing == everything[picture.metadata["key"]].drawing


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_while_rendering(make, tmp_path, fetch):
    """kill -9 in the middle of the work, then a second run: nothing is broken and nothing is missing."""
    whole, _ = make("whole")
    target = tmp_path / "killed"
    script = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(os.path.dirname(__file__))!r})
import conftest
from kiloword.data.emoji import build, plan
plan.PER_SHARD = 10
build.build(
    Path({str(target)!r}), size=16, cache=Path({str(tmp_path / "cache")!r}), fetch=conftest.FakeFetch(), workers=1,
    progress=lambda done, total: done >= 20 and os.kill(os.getpid(), signal.SIGKILL),
)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(shard_paths(target)) == 2 and not complete(target)
    make("killed")
    assert bytes_of(target) == bytes_of(whole)
    assert json.loads((target / "summary.json").read_text())["pictures"] == 54
