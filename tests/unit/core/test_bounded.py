"""A small file never becomes a large one: bounds on what is unpacked, on lines, on wholes and on depth."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from ruamel.yaml.error import YAMLError

from core import bounded, dvc_lock, parameters_file
from core.errors import InputProblem

PACK = {".gz": gzip.compress, ".zst": zstandard.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", sorted(PACK))
def test_a_file_that_unpacks_to_far_more_than_it_is_stops_early(tmp_path: Path, suffix: str, monkeypatch) -> None:
    """Streamed: what is in memory stays small, whatever the file would grow to."""
    monkeypatch.setattr(bounded, "ALWAYS_ALLOWED", 20 << 20)
    path = tmp_path / f"bomb.txt{suffix}"
    path.write_bytes(PACK[suffix](bytes(24 << 20)))
    tracemalloc.start()
    with pytest.raises(bounded.OutOfBounds, match="unpacks to more than 20 MiB"):
        with bounded.unpacked(path) as file:
            while file.read(1 << 16):
                pass
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("suffix", sorted(PACK))
def test_a_packed_text_is_read_as_it_is(tmp_path: Path, suffix: str) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000)).encode()
    (tmp_path / f"text.txt{suffix}").write_bytes(PACK[suffix](text))
    with bounded.unpacked(tmp_path / f"text.txt{suffix}") as file:
        assert b"".join(bounded.lines(file)) == text
    (tmp_path / "plain").write_bytes(PACK[suffix](text))  # an object of a cache, by the name that it goes by
    with bounded.unpacked(tmp_path / "plain", suffix) as file:
        assert bounded.whole(file) == text


@pytest.mark.parametrize("suffix", sorted(PACK))
def test_a_packed_file_that_is_cut_off_or_followed_by_something_else_is_no_shorter_text(suffix: str) -> None:
    whole = PACK[suffix](b"some text\n" * 900)
    assert bounded.whole(bounded.unpacked(whole + whole, suffix)) == b"some text\n" * 1800
    for wrong in (whole[:-3], whole + whole[: len(whole) // 2]):
        with pytest.raises((OSError, EOFError)):
            bounded.whole(bounded.unpacked(wrong, suffix))


def test_a_line_and_a_whole_have_a_largest_size(monkeypatch) -> None:
    monkeypatch.setattr(bounded, "LONGEST_LINE", 10)
    monkeypatch.setattr(bounded, "LARGEST_WHOLE", 20)
    assert list(bounded.lines(io.BytesIO(b"123456789\n12\n1"))) == [b"123456789\n", b"12\n", b"1"]
    with pytest.raises(bounded.OutOfBounds, match="a line is longer"):
        list(bounded.lines(io.BytesIO(b"12345678901\n")))
    assert bounded.whole(io.BytesIO(b"x" * 20)) == b"x" * 20
    with pytest.raises(bounded.OutOfBounds, match="divide it"):
        bounded.whole(io.BytesIO(b"x" * 21))


LAUGHS = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{two}: &{two} [{','.join([f'*{one}'] * 9)}]\n" for one, two in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    ["a: " + "[" * 3000 + "]" * 3000, "a: " + "{x: " * 3000 + "1" + "}" * 3000, "- " * 3000 + "x",
     "? " * 3000 + "x", "".join(" " * level + "a:\n" for level in range(3000)), LAUGHS, "a: &a [*a]",
     "[" * 200, "".join(" " * level + "a:\n" for level in range(100))],
    ids=["lists", "mappings", "dashes", "keys", "indented", "laughs", "itself", "open", "hundred"],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_yaml_nested_too_deep_is_refused_at_once_by_every_reader(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(InputProblem, match=r"params.yaml: (not readable as YAML|must be a mapping)"):
        parameters_file.read(tmp_path / "params.yaml")
    if "\n" not in text:
        assert parameters_file.parse([f"x={text.removeprefix('a: ')}"])[1]
    with pytest.raises((dvc_lock.LockUnreadable, YAMLError)):
        dvc_lock.stages_of(text.encode(), "dvc.lock")


def test_what_people_write_is_within_the_bounds() -> None:
    root = Path(__file__).parents[3]
    for path in [*root.glob("*.yaml"), *root.glob("recipes/*.yaml")]:
        assert bounded.yaml(path.read_bytes()) == bounded.yaml(path.read_text(), fast=True)
    assert bounded.yaml("a: &x [1, 2]\nb: *x") == {"a": [1, 2], "b": [1, 2]}
    with pytest.raises(YAMLError, match="not UTF-8"):
        bounded.yaml(b"a: \xff")


def test_depth_is_counted_without_going_down() -> None:
    value: list = []
    for _ in range(100_000):
        value = [value]
    assert bounded.deeper(value)
    assert not bounded.deeper([[1], {"a": [2]}])
    assert bounded.deeper([[1]], levels=1) and not bounded.deeper([1], levels=1)
    while value:  # freeing it at once would call itself for each level
        value = value.pop()


def test_a_yaml_that_is_read_again_is_a_value_of_its_own() -> None:
    bounded.yaml("a: [1]")["a"].append(2)
    assert bounded.yaml("a: [1]") == {"a": [1]}
