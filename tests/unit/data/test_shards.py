"""Tests of data/shards.py: written whole, equal bytes for equal samples, damage skipped and counted.

Source: the tar format (POSIX ustar) and webdataset's naming.
"""

import errno
import io
import json
import os
import tarfile
from collections import Counter

import pytest
from PIL import Image

from kiloword.data import shards


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (4, 4), (value, 0, 0, 255)).save(file, "PNG")
    return file.getvalue()


def samples(start: int, count: int):
    return [(f"{n:04d}", png(n % 256), {"key": f"{n:04d}", "caption": "blå"}) for n in range(start, start + count)]


@pytest.fixture
def folder(tmp_path):
    for number in range(30):
        shards.write_shard(tmp_path / shards.shard_name(number), samples(number * 4, 4))
    return tmp_path


def test_round_trip(folder):
    read = list(shards.read(folder))
    assert [sample.key for sample in read] == [f"{n:04d}" for n in range(120)]
    assert read[7].picture.mode == "RGBA" and read[7].picture.getpixel((0, 0)) == (7, 0, 0, 255)
    assert read[7].metadata == {"key": "0007", "caption": "blå"}


def test_equal_samples_give_equal_bytes_and_no_leftovers(tmp_path):
    first, second = tmp_path / "shard-00000.tar", tmp_path / "shard-00001.tar"
    shards.write_shard(first, samples(0, 3))
    shards.write_shard(second, samples(0, 3))
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]
    with tarfile.open(first) as archive:
        assert all((member.mtime, member.uid, member.gid) == (0, 0, 0) for member in archive)


def test_truncated_shard_is_skipped_and_counted(folder):
    path = folder / shards.shard_name(3)
    path.write_bytes(path.read_bytes()[:2100])  # one whole sample, and a part
    skipped = Counter()
    keys = [sample.key for sample in shards.read(folder, skipped=skipped)]
    assert skipped == {"shards": 1}
    assert 116 <= len(keys) < 120 and "0016" in keys


def test_bad_samples_are_skipped_and_counted(folder):
    bad = samples(0, 4)
    bad[1] = ("0001", png(1)[:40], bad[1][2])
    shards.write_shard(folder / shards.shard_name(0), bad)
    skipped = Counter()
    keys = [sample.key for sample in shards.read(folder, skipped=skipped)]
    assert skipped == {"samples": 1} and len(keys) == 119 and "0001" not in keys


def test_bad_json_counts_as_a_bad_sample(folder):
    path = folder / shards.shard_name(0)
    path.write_bytes(path.read_bytes().replace(b'{"key": "0001"', b'{"key"; "0001"'))
    skipped = Counter()
    assert len(list(shards.read(folder, skipped=skipped))) == 119 and skipped["samples"] == 1


def test_too_much_damage_is_refused(folder):
    for number in (1, 2):
        (folder / shards.shard_name(number)).write_bytes(b"not a tar file")
    with pytest.raises(ValueError, match=r"2 of 30 shards .* damaged \(at most 5% may be\)"):
        list(shards.read(folder))
    with pytest.raises(ValueError, match="1 of 112 samples"):
        path = folder / shards.shard_name(5)
        path.write_bytes(path.read_bytes().replace(b"IHDR", b"IHDX", 1))
        list(shards.read(folder, sample_tolerance=0.001, shard_tolerance=0.5))


def test_metadata_round_trip(tmp_path):
    records = [{"key": "a", "caption": "naïve café"}, {"key": "b", "caption": "リンゴ"}]
    shards.write_metadata(tmp_path, records)
    assert shards.load_metadata(tmp_path) == records
    assert len((tmp_path / "metadata.jsonl").read_text().splitlines()) == 2


def test_missing_files_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"no shard-\*.tar in .*: build the data set first"):
        list(shards.read(tmp_path))
    with pytest.raises(ValueError, match="run it again to go on"):
        shards.load_metadata(tmp_path)


def test_full_disk_names_the_path_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    shards.replace_file(path, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"disk is full, {path} needs 3 bytes"):
        shards.replace_file(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_json_is_readable_text(tmp_path):
    shards.write_shard(tmp_path / "shard-00000.tar", samples(0, 1))
    with tarfile.open(tmp_path / "shard-00000.tar") as archive:
        assert json.load(archive.extractfile("0000.json"))["caption"] == "blå"
