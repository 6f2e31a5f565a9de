"""The one reader of users' files: every format and compression, encodings, quotations, and what is left out."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from components.curate.files.tables import columns_of, data_among, require, rows, sample, unused_warnings
from components.curate.files.user_files import TABLES, UserFile, find
from core import bounded
from core.errors import InputProblem

ROWS = [{"prompt": f"p{number}, ü", "completion": 'two\nlines, "quoted"\tand a tab'} for number in range(3)]
COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def table(path: Path, content: bytes | str) -> UserFile:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return UserFile(path.name, path, TABLES[Path(path.name.removesuffix(".gz")).suffix])


def encoded(kind: str) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    if kind == "json":
        return json.dumps(ROWS).encode()
    if kind == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(ROWS), sink)
        return sink.getvalue().to_pybytes()
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ["prompt", "completion"], delimiter="\t" if kind == "tsv" else ",")
    writer.writeheader()
    writer.writerows(ROWS)
    return buffer.getvalue().encode("utf-8-sig")


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_every_format_and_compression_holds_the_same_rows(tmp_path, kind, suffix):
    folder = tmp_path / "data/raw"
    folder.mkdir(parents=True)
    (folder / f"a.{kind}{suffix}").write_bytes(COMPRESS[suffix](encoded(kind)))
    ((file,), problems) = find(["data/raw/*"], "here", tmp_path)
    assert problems == [] and file.name == f"data/raw/a.{kind}{suffix}"
    assert [row.columns for row in rows(file)] == ROWS == sample(file)
    assert next(rows(file, ["prompt"])).columns["prompt"] == ROWS[0]["prompt"]
    assert columns_of(file, sample(file)) == ["prompt", "completion"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.csv.gz"])
def test_wide_encodings_are_read(tmp_path, name, encoding):
    rows_of = {
        "csv": "text,label\nстарый маяк,x\n", "tsv": "text\tlabel\nстарый маяк\tx\n",
        "json": '[{"text": "старый маяк", "label": "x"}]', "jsonl": '{"text": "старый маяк", "label": "x"}\n',
    }  # fmt: skip
    content, noted = rows_of[name.split(".")[1]].encode(encoding), []
    file = table(tmp_path / name, gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    assert [row.columns for row in rows(file, None, noted.append)] == [{"text": "старый маяк", "label": "x"}]
    assert noted == [encoding]


def test_what_holds_no_text_is_refused_by_name(tmp_path):
    with pytest.raises(InputProblem, match=r"^a\.csv: holds NUL bytes"):
        list(rows(table(tmp_path / "a.csv", "text,label\nстарый маяк,x\n".encode("utf-32-le"))))


def test_a_quotation_that_is_never_closed_names_its_line(tmp_path):
    lines = ["text,label", *(f"text {n},x" for n in range(20))]
    lines[5] = '"text 4,x'
    file = table(tmp_path / "a.csv", "\n".join(lines))
    with pytest.raises(InputProblem, match=r"a quotation mark in line 6 opens a text that has no proper end"):
        list(rows(file))
    lines[15] = '"closed, it seems",x'
    with pytest.raises(InputProblem, match=r"in line 6 opens .*seen in line 16"):
        list(rows(table(tmp_path / "a.csv", "\n".join(lines))))
    lines[4] = '"two\nlines",x'
    with pytest.raises(InputProblem, match=r"in line 7 opens"):
        list(rows(table(tmp_path / "a.csv", "\n".join(lines))))


def test_a_quotation_that_goes_wrong_within_its_line_breaks_that_row_alone(tmp_path):
    file = table(tmp_path / "a.csv", 'text,label\n"one" two,x\n"a ""b"" c",y\nit is 5" long,z\n')
    found = list(rows(file))
    assert [row.columns for row in found] == [
        None, {"text": 'a "b" c', "label": "y"}, {"text": 'it is 5" long', "label": "z"},
    ]  # fmt: skip
    assert found[0].where == "line 2" and "is not CSV" in found[0].error


@pytest.mark.parametrize(
    ("name", "content", "where", "error"),
    [
        ("a.jsonl", b'{"a": 1}\nnot json\n', "line 2", "is not JSON"),
        ("a.jsonl", b"[1]\n", "line 1", "is not a JSON object"),
        ("a.jsonl", b'{"a": "caf\xe9"}\n', "line 1", "is not UTF-8"),
        ("a.json", b"[1]", "item 1", "is not a JSON object"),
        ("a.csv", b"a,b\n1\n", "line 2", "has 1 fields, the header 2"),
        ("a.csv", b"a,b\n\xc3\xa9,1\ncaf\xe9,1\n", "line 3", "'a' is not UTF-8"),
    ],
)
def test_broken_rows_say_where_and_why(tmp_path, name, content, where, error):
    (broken,) = [row for row in rows(table(tmp_path / name, content)) if row.columns is None]
    assert broken.where == where and error in broken.error


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"a": 1}', "is not one JSON list of objects"),
        ("a.json", b'{"a": 1}\n{"a": 2}\n', "Extra data.*name it .jsonl"),
        ("a.csv", b"a,b,a\n1,2,3\n", "its header has two columns 'a'"),
        ("a.parquet", b"nothing", "cannot be read as parquet"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-12], "cannot be read as jsonl to its end"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path, name, content, message):
    with pytest.raises(InputProblem, match=message):
        list(rows(table(tmp_path / name, content)))


def test_hidden_files_are_left_out_unless_they_are_named(tmp_path):
    for name in ("data/raw/a.csv", "data/raw/._a.csv", "data/raw/.gitignore", "data/raw/.cache/b.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [file.name for file in find(["data/raw/**/*"], "p", tmp_path)[0]] == ["data/raw/a.csv"]
    assert [file.name for file in find(["data/raw/._a.csv"], "p", tmp_path)[0]] == ["data/raw/._a.csv"]
    assert find(["data/raw/.*"], "p", tmp_path)[1] == [
        "p: no file matches 'data/raw/.*' (looked in data/raw/): check the name, or add the file"
    ]


def test_a_missing_column_names_those_that_are_there():
    file = UserFile("a.csv", Path("a.csv"), "csv")
    with pytest.raises(InputProblem, match=r"has no column 'text'; it has 'body', 'id': name one of them in here"):
        require(file, ["body", "id"], ["text"], "here")
    with pytest.raises(InputProblem, match="its columns are separated by ';'"):
        require(file, ["text;label"], ["text"], "here")


def test_columns_that_look_like_data():
    first = [{"id": "a1", "score": 0.5, "title": "A few words", "turns": [1], "none": None, "empty": ""}] * 3
    assert data_among(first[0], first) == ["title", "turns"]
    files = {f"{n}.csv": ["title"] for n in range(5)} | {"x.csv": []}
    (warning,) = unused_warnings(files)
    assert warning == "0.csv, 1.csv, 2.csv and 2 more files: not used, though it looks like data: column 'title'"


@settings(max_examples=60)
@given(st.binary(max_size=200), st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".parquet"]))
def test_any_bytes_give_rows_or_an_input_problem(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        try:
            assert all(row.columns is not None or row.error for row in rows(table(Path(folder, f"x{suffix}"), content)))
        except InputProblem as problem:
            assert problem.problems[0].startswith(f"x{suffix}: ")


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_a_file_made_to_fill_the_memory_is_refused_by_name(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(bounded, "ALWAYS_ALLOWED", 1 << 20)
    if kind == "parquet":
        path = tmp_path / "bomb.parquet"
        # One page of spaces, packed 20,000 to 1.
        pq.write_table(pa.table({"text": [" " * (2 << 20)]}), path, compression="zstd", use_dictionary=False)
        file = UserFile(path.name, path, "parquet")
    else:
        file = table(tmp_path / f"bomb.{kind}.gz", gzip.compress(b'[{"a": "' + (b" " * 999 + b"\n") * 2000))
    with pytest.raises(InputProblem, match=rf"bomb.{kind}.*(unpack to|unpacks to|longer than) ?"):
        list(rows(file))


def test_a_row_nested_too_deep_is_a_bad_row(tmp_path):
    deep = ["[" * depth + "]" * depth for depth in (66, 990, 2000, 200_000)]
    objects = ['{"a": ' * depth + "1" + "}" * depth for depth in (66, 990, 200_000)]
    good = json.dumps({"text": "good"})
    lines = table(tmp_path / "deep.jsonl", "\n".join([*deep, *objects, good]))
    found = list(rows(lines))
    assert [row.columns for row in found] == [None] * 7 + [{"text": "good"}]
    assert {row.error for row in found[:-1]} == {"is nested deeper than 64 levels"}
    items = table(tmp_path / "deep.json", f"[{deep[0]}, {objects[0]}, {good}]")
    assert [row.columns for row in rows(items)] == [None, None, {"text": "good"}]
    with pytest.raises(InputProblem, match="nested deeper than 64 levels"):
        list(rows(table(tmp_path / "deeper.json", f"[{deep[-1]}, {good}]")))
