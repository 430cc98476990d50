"""Tests of data/kinds.py and what it opens: every kind gives the same samples, and says what it left out."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import icons
from kiloword.data.dataset import Dataset, Skipped
from kiloword.data.folder import FolderDataset
from kiloword.data.json_lines import JsonLines
from kiloword.data.kinds import open_dataset
from kiloword.data.parquet import ParquetDataset
from kiloword.data.shards import ShardDataset

CAPTIONS = [f"a drawing of number {number}" for number in range(6)]


def content(number: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    icons.icon(number).convert("RGBA" if kind == "PNG" else "RGB").save(file, kind)
    return file.getvalue()


def folder(path):
    path.mkdir()
    records = [{"file_name": f"{number}.png", "text": caption} for number, caption in enumerate(CAPTIONS)]
    for number in range(len(CAPTIONS)):
        (path / f"{number}.png").write_bytes(content(number))
    (path / "metadata.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def tar(path, parts_of):
    with tarfile.open(path, "w") as archive:
        for name, data in parts_of:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def webdataset(path):
    path.mkdir()
    for shard in range(2):
        parts = []
        for number in range(3 * shard, 3 * shard + 3):
            key, caption = f"some.folder/{number:05d}", CAPTIONS[number]
            said = (f"{key}.txt", caption) if shard else (f"{key}.json", json.dumps({"text": caption}))
            parts += [(f"{key}.png", content(number)), (said[0], said[1].encode())]
        tar(path / f"{shard:05d}.tar", parts)
    return path


def parquet(path):
    (path / "data").mkdir(parents=True)
    pictures = [{"bytes": content(number), "path": f"{number}.png"} for number in range(6)]
    for shard in range(2):
        part = slice(3 * shard, 3 * shard + 3)
        table = {"image": pictures[part], "text": CAPTIONS[part], "width": [24] * 3}
        pq.write_table(pa.table(table), path / "data" / f"train-{shard:05d}-of-00002.parquet")
    (path / "README.md").write_text("A data set of the Hub.")
    return path


KINDS = {
    "folder": (folder, FolderDataset), "webdataset": (webdataset, ShardDataset), "parquet": (parquet, ParquetDataset),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_samples_in_the_same_order(tmp_path, kind):
    write, wanted = KINDS[kind]
    dataset = open_dataset(write(tmp_path / "data"))
    assert isinstance(dataset, wanted) and isinstance(dataset, Dataset)
    samples = list(dataset.read())
    assert [sample.metadata["caption"] for sample in samples] == CAPTIONS
    assert [sample.picture.tobytes() for sample in samples] == [icons.icon(number).tobytes() for number in range(6)]
    keys = [sample.key for sample in samples]
    assert len(set(keys)) == 6 and keys == [sample.key for sample in dataset.read()]
    assert dataset.length() in (6, None) and all(sample.metadata["key"] == sample.key for sample in samples)


def test_lengths_are_told_where_they_are_known(tmp_path):
    assert open_dataset(folder(tmp_path / "a")).length() == open_dataset(parquet(tmp_path / "b")).length() == 6
    assert open_dataset(webdataset(tmp_path / "c")).length() is None
    assert open_dataset(icons.write_icons(tmp_path / "d", count=9, held_out=3)).length() == 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_fingerprint_changes_with_the_files(tmp_path, kind):
    path = KINDS[kind][0](tmp_path / "data")
    before = open_dataset(path).fingerprint()
    assert before == open_dataset(path).fingerprint()
    some = next(file for file in sorted(path.rglob("*")) if file.suffix in (".png", ".tar", ".parquet"))
    some.write_bytes(some.read_bytes() + b" ")
    assert open_dataset(path).fingerprint() != before


def test_single_files_and_bare_bytes_and_jpegs_are_read(tmp_path):
    tar(tmp_path / "one.tar", [("a.jpg", content(1, "JPEG")), ("a.txt", b"an icon\n"), ("b.JPG", content(2, "JPEG")),
                               ("b.json", b'{"caption": "another", "licence": "CC0"}')])  # fmt: skip
    first, second = open_dataset(tmp_path / "one.tar").read()
    assert first.metadata == {"key": "a", "caption": "an icon"} and first.picture.size == (24, 24)
    assert second.metadata == {"key": "b", "caption": "another", "licence": "CC0"}
    pq.write_table(pa.table({"jpg": [content(1, "JPEG")], "caption": ["an icon"], "n": [3]}), tmp_path / "one.parquet")
    (sample,) = open_dataset(tmp_path / "one.parquet").read()
    assert sample.metadata == {"n": 3, "key": "one/000000", "caption": "an icon"}


def test_splits_are_told_by_names(tmp_path):
    for split in ("train", "validation"):
        table = pa.table({"image": [content(1)], "text": ["an icon"]})
        pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    assert [sample.metadata["split"] for sample in open_dataset(tmp_path).read()] == ["train", "validation"]
    for split in ("test", "train"):
        (tmp_path / "tars" / split).mkdir(parents=True)
        tar(tmp_path / "tars" / split / "0.tar", [("a.png", content(1)), ("a.txt", b"an icon")])
    assert [sample.metadata["split"] for sample in open_dataset(tmp_path / "tars").read()] == ["test", "train"]


def test_what_cannot_be_used_is_counted_and_named(tmp_path):
    good = [part for n in range(250) for part in ((f"{n:03d}.png", content(n)), (f"{n:03d}.txt", b"an icon"))]
    tar(tmp_path / "a.tar", [*good, ("x.png", content(1)[:50]), ("x.txt", b"cut"), ("y.png", content(2))])
    skipped = Skipped()
    assert len(list(open_dataset(tmp_path / "a.tar").read(skipped))) == 250
    assert list(skipped.reasons) == ["a.tar/x", "a.tar/y"]
    assert skipped.said().startswith("2 skipped: a.tar/x (x.png is not a picture") and "no caption" in skipped.said()


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_a_data_set_with_much_damage_is_refused_and_the_damage_named(tmp_path, kind):
    path = KINDS[kind][0](tmp_path / "data")
    if kind == "folder":
        (path / "3.png").write_bytes(content(3)[:60])
    else:
        table = pa.table({"image": [content(1), b"no picture"], "text": ["an icon", "none"]})
        pq.write_table(table, path / "data" / "train-00002-of-00003.parquet")
    with pytest.raises(ValueError, match=r"1 of \d samples in .* cannot be used .at most 1%.*(3\.png|000001) \("):
        list(open_dataset(path).read())


def test_what_is_no_data_set_is_refused_with_what_was_found_and_what_is_legal(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"but nothing; it may hold tar files .* parquet files .* or pictures"):
        open_dataset(tmp_path)
    for name in ("a.txt", "b.txt", "c.md"):
        (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=r"holds no pictures with captions, but 2 \.txt, 1 \.md; it may hold"):
        open_dataset(tmp_path)
    with pytest.raises(ValueError, match=r"a.txt is neither a .tar nor a .parquet file"):
        open_dataset(tmp_path / "a.txt")
    (tmp_path / "a.tar").touch()
    (tmp_path / "a.parquet").touch()
    with pytest.raises(ValueError, match=r"1 \.tar.*not with both"):
        open_dataset(tmp_path)


def test_parquet_without_pictures_or_captions_says_what_it_has(tmp_path):
    pq.write_table(pa.table({"image": [content(1)], "label": [3]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"has no captions; it has image: binary, label: int64: call the column"):
        list(open_dataset(tmp_path / "a.parquet").read())
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="has no pictures"):
        list(open_dataset(tmp_path / "b.parquet").read())
    (tmp_path / "c.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(ValueError, match="not a whole parquet file"):
        list(open_dataset(tmp_path / "c.parquet").read())


def test_lines_of_json_are_read_one_by_one(tmp_path):
    records = [{"caption": "ä" * number, "n": number} for number in range(5)]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    lines = JsonLines(path)
    assert len(lines) == 5 and list(lines) == records and lines[-1] == records[-1] and lines[1:4] == records[1:4]
    with pytest.raises(IndexError):
        lines[5]


def test_a_picture_lies_the_right_way_up(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees
    file = io.BytesIO()
    Image.new("RGB", (4, 2)).save(file, "JPEG", exif=exif)
    tar(tmp_path / "a.tar", [("a.jpg", file.getvalue()), ("a.txt", b"turned")])
    (sample,) = open_dataset(tmp_path / "a.tar").read()
    assert sample.picture.size == (2, 4)
