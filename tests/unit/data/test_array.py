"""Tests of data/array.py and data/token_cache.py: any index reads what a tensor would; half of one is never read."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kiloword.data import array
from kiloword.data.array import ReadOnlyArray, ShardedArray, Writer, clear, digest_of
from kiloword.data.token_cache import TokenCache

VALUES = torch.arange(11 * 3 * 2, dtype=torch.int16).view(11, 3, 2)


def write(folder, values=VALUES, each=4, **facts) -> ShardedArray:
    writer = Writer(folder, facts)
    parts = values.split(each)
    for number, part in enumerate(parts):
        writer.shard(number, part.numpy)
    return writer.finish(len(parts))


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> ShardedArray:
    return write(tmp_path_factory.mktemp("array"))


@settings(deadline=None)
@given(st.data())
def test_an_index_reads_what_a_tensor_would(stored, data):
    index = data.draw(
        st.one_of(
            st.integers(-11, 10),
            st.builds(slice, st.integers(-12, 12), st.integers(-12, 12), st.sampled_from([None, 1, 2, 5])),
            st.lists(st.integers(-11, 10)).map(lambda found: torch.tensor(found, dtype=torch.long)),
            st.lists(st.booleans(), min_size=11, max_size=11).map(torch.tensor),
            st.lists(st.integers(-11, 10), min_size=6, max_size=6).map(lambda found: torch.tensor(found).view(2, 3)),
        )
    )
    assert torch.equal(stored[index], VALUES[index])


def test_it_looks_like_a_tensor_and_memory_is_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(array, "RESIDENT", 10)
    stored = write(tmp_path)
    assert isinstance(stored, ReadOnlyArray) and isinstance(VALUES, ReadOnlyArray)
    assert len(stored) == 11 and stored.shape == (11, 3, 2)
    for _ in range(3):
        assert torch.equal(stored[:], VALUES)
    found = stored[torch.tensor([3])]
    found.zero_()
    assert torch.equal(stored[3], VALUES[3])  # what is read is a copy
    with pytest.raises(IndexError, match="samples 0 to 10 are there, requested 11"):
        stored[torch.tensor([11])]


def test_tokens_are_read_by_version_and_picture(stored):
    tokens, wanted = TokenCache(stored), VALUES.transpose(0, 1)
    assert len(tokens) == 3 and tokens.shape == (3, 11, 2)
    pictures = torch.tensor([9, 0, 4])
    assert torch.equal(tokens[0, pictures], wanted[0, pictures])
    version = torch.tensor([2, 1, 0])
    assert torch.equal(tokens[version, pictures], wanted[version, pictures])


def test_finished_shards_are_kept_and_nothing_unfinished_is_read(tmp_path):
    made: list[int] = []

    def make(number: int):
        def values() -> np.ndarray:
            made.append(number)
            if number == 2 and len(made) < 4:
                raise KeyboardInterrupt
            return np.full((2, 3), number)

        return values

    def fill() -> ShardedArray:
        writer = Writer(tmp_path, {"of": "a"})
        for number in range(3):
            writer.shard(number, make(number))
        return writer.finish(3)

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert not Writer(tmp_path, {"of": "a"}).whole
    with pytest.raises(FileNotFoundError):
        ShardedArray(tmp_path)
    assert fill()[:][:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert made == [0, 1, 2, 2]


def test_what_was_made_of_something_else_is_made_anew(tmp_path):
    first = write(tmp_path, of="a")
    assert Writer(tmp_path, {"of": "a"}).whole
    other = Writer(tmp_path, {"of": "b"})
    assert not other.whole and not list(tmp_path.glob("shard-*"))
    assert write(tmp_path, VALUES + 1, of="b").digest != first.digest
    assert write(tmp_path / "again", of="c").digest == first.digest  # of the bytes alone
    assert digest_of(VALUES) == digest_of(VALUES.clone()) != digest_of(VALUES + 1)


def test_only_what_was_written_is_removed(tmp_path):
    write(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
