"""Every format, plain and compressed, gives the same documents; every broken row is reported."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from components.curate.files import user_files
from core.errors import InputProblem
from tests.unit.curate.workspace import curate, sentence

LOOSE = {"gopher": None}  # the rules on repeated phrases would drop many like sentences in one document
TEXTS = [sentence(number) for number in range(40)]


def encoded(kind: str) -> bytes:
    """The texts as one file of the kind."""
    rows = [{"text": text, "author": f"a{number % 12}"} for number, text in enumerate(TEXTS)]
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == "json":
        return json.dumps(rows).encode()
    if kind in ("csv", "tsv"):
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, ["author", "text"], delimiter="\t" if kind == "tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue().encode("utf-8-sig")
    if kind == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue().to_pybytes()
    if kind == "html":
        paragraphs = "".join(f"<p>{text} &amp; <b>so on</b></p>" for text in TEXTS)
        return f"<html><head><title>x</title></head><body>{paragraphs}</body></html>".encode()
    return "\n\n".join(TEXTS).encode()


def compressed(content: bytes, suffix: str) -> bytes:
    compress = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    return {**compress, ".zst": zstandard.ZstdCompressor().compress}[suffix](content)


def corpus(context) -> dict[str, list[dict]]:
    """Rows of each split."""
    return {
        split: [
            row
            for path in sorted(context.outputs["corpus"].glob(f"{split}-*.parquet"))
            for row in pq.read_table(path).to_pylist()
        ]
        for split in ("train", "validation", "test")
    }


def all_rows(context) -> list[dict]:
    return [row for rows in corpus(context).values() for row in rows]


def report(context) -> dict:
    return json.loads((context.outputs["report"] / "report.json").read_text())


def put(workspace, name: str, content: bytes | str) -> str:
    path = workspace / "data/raw" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return f"data/raw/{name}"


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("jsonl", ".zst"), ("csv", ""), ("parquet", ""), ("parquet", ".gz"), ("json", ".xz"), ("tsv", "")],
)
def test_rows_of_every_table_format_are_read(tmp_path, monkeypatch, kind, suffix):
    name = put(tmp_path, f"texts.{kind}{suffix}", compressed(encoded(kind), suffix))
    context = curate(
        tmp_path, [{"type": "files", "paths": [name], "group_column": "author", "license": "CC0-1.0"}], monkeypatch
    )
    rows = all_rows(context)
    assert sorted(row["text"] for row in rows) == sorted(TEXTS)
    assert {row["license"] for row in rows} == {"CC0-1.0"}
    assert {row["kind"] for row in rows} == {"row"}
    assert all(row["origin"].startswith(name + "#") for row in rows)
    splits = corpus(context)
    groups = [{row["group"] for row in splits[split]} for split in splits]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 12


@pytest.mark.parametrize(("kind", "suffix"), [("txt", ".bz2"), ("md", ""), ("html", ".gz")])
def test_text_files_of_every_format_are_read(tmp_path, monkeypatch, kind, suffix):
    for number in range(4):
        texts = "\n\n".join(TEXTS[number * 10 : number * 10 + 10]).encode()
        content = b"<p>" + texts.replace(b"\n\n", b"</p><p>") + b"</p>" if kind == "html" else texts
        put(tmp_path, f"deep/er/{number}.{kind}{suffix}", compressed(content, suffix))
    source = {"type": "files", "paths": [f"data/raw/**/*.{kind}{suffix}"]}
    context = curate(tmp_path, [source], monkeypatch, quality=LOOSE)
    rows = all_rows(context)
    assert len(rows) == 4
    assert sorted(text for row in rows for text in row["text"].split("\n\n")) == sorted(TEXTS)
    assert {row["group"] for row in rows} == {f"data/raw/deep/er/{number}.{kind}{suffix}" for number in range(4)}


def test_one_long_text_file_is_cut_at_blank_lines_and_can_be_split(tmp_path, monkeypatch):
    source = {"type": "files", "paths": [put(tmp_path, "book.txt", encoded("txt"))], "max_file_characters": 500}
    with pytest.raises(InputProblem, match="keep_files_together"):
        curate(tmp_path, [source], monkeypatch, quality=LOOSE)
    context = curate(tmp_path, [{**source, "keep_files_together": False}], monkeypatch, quality=LOOSE)
    rows = all_rows(context)
    assert len(rows) > 5
    assert sorted(text for row in rows for text in row["text"].split("\n\n")) == sorted(TEXTS)


def test_broken_rows_below_the_tolerated_share_are_counted_sampled_and_warned_of(tmp_path, monkeypatch):
    lines = encoded("jsonl").decode().splitlines()
    lines[3:3] = ['{"text": "cut o', "[1, 2]", '{"text": 5}', '{"other": "me@example.org"}']
    name = put(tmp_path, "rows.jsonl", "\n".join(lines))
    source = [{"type": "files", "paths": [name]}]
    context = curate(tmp_path, source, monkeypatch, max_broken_share=0.2)
    assert len(all_rows(context)) == len(TEXTS)
    (broken,) = report(context)["broken_rows"]
    assert (broken["file"], broken["rows"], broken["broken"]) == (name, len(TEXTS) + 4, 4)
    assert "line 4" in broken["examples"][0] and len(broken["examples"]) == 4
    assert any("4 of 44 rows" in warning for warning in context.warnings)


def test_more_broken_rows_than_tolerated_in_several_files_are_all_reported(tmp_path, monkeypatch):
    first = put(tmp_path, "one.jsonl", encoded("jsonl") + b'{"text": \n' * 5)
    second = put(tmp_path, "two.csv", b"text,author\nonly one field\na,b,c\n" + b'"text, with a comma",x\n' * 3)
    third = put(tmp_path, "three.txt", "fine é\n".encode() + b"\xff\xfe broken\n")
    with pytest.raises(InputProblem) as caught:
        curate(tmp_path, [{"type": "files", "paths": [first, second, third]}], monkeypatch)
    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    assert "one.jsonl: 5 of 45 rows" in problems and "line 41" in problems
    assert "two.csv: 2 of 5 rows" in problems and "has 1 fields, the header 2" in problems
    assert "three.txt: 1 of 2 rows" in problems and "not UTF-8" in problems


def test_text_in_other_encodings_is_read_noted_and_warned_of_where_it_is_guessed(tmp_path, monkeypatch):
    german = [f"Über {text} fließt Wasser, und Äpfel sind doch grün." for text in TEXTS]
    table = "text\tauthor\n" + "".join(f"{text}\tß\n" for text in german)
    paths = [
        put(tmp_path, "a.txt", "\n\n".join(german).encode("cp1252")),
        put(tmp_path, "b.tsv", table.encode("utf-16")),
        put(tmp_path, "c.jsonl", b"\xfe\xff" + encoded("jsonl").decode().encode("utf-16-be")),
        put(tmp_path, "d.html", f"<html><body><p>{'</p><p>'.join(german[:20])}".encode("utf-32")),
        put(tmp_path, "e.tsv", table.encode("cp1252")),
    ]
    source = {"type": "files", "paths": paths, "keep_files_together": False, "max_file_characters": 500}
    context = curate(tmp_path, [source], monkeypatch, quality=LOOSE, deduplication={"threshold": 1})
    texts = "\n".join(row["text"] for row in all_rows(context))
    assert all(text in texts for text in german + TEXTS)
    assert not set("\ufffdÃ\0") & set(texts)
    found = {name: each["first"] for name, each in report(context)["encodings"].items()}
    assert found == {"cp1252": [paths[0], paths[4]], "utf-16": [paths[1], paths[2]], "utf-32": [paths[3]]}
    warnings = [warning for warning in context.warnings if "bytes look like" in warning]
    assert len(warnings) == 1 and "data/raw/a.txt, data/raw/e.tsv: read as cp1252" in warnings[0]


def test_what_holds_no_text_is_refused_by_name(tmp_path, monkeypatch):
    paths = [put(tmp_path, "a.txt", b"\0\1\2\3" * 99), put(tmp_path, "b.csv", "text\n".encode("utf-16")[:-1])]
    with pytest.raises(InputProblem) as caught:
        curate(tmp_path, [{"type": "files", "paths": paths}], monkeypatch)
    assert "data/raw/a.txt: holds NUL bytes" in caught.value.problems[0]
    assert "data/raw/b.csv: cannot be read as csv to its end" in caught.value.problems[1]


def test_columns_that_look_like_data_and_are_not_read_are_warned_of(tmp_path, monkeypatch):
    rows = [{"text": text, "summary": "what it is about", "id": "x1"} for text in TEXTS]
    name = put(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    context = curate(tmp_path, [{"type": "files", "paths": [name]}], monkeypatch)
    assert context.warnings == [f"{name}: not used, though it looks like data: column 'summary'"]


def test_a_csv_row_with_bytes_that_are_not_utf8_is_broken_not_fatal(tmp_path, monkeypatch):
    name = put(tmp_path, "latin.csv", encoded("csv") + b"a1,caf\xe9 au lait for all of them\r\n")
    context = curate(tmp_path, [{"type": "files", "paths": [name]}], monkeypatch, max_broken_share=0.1)
    assert report(context)["broken_rows"][0]["broken"] == 1


def test_every_problem_with_files_is_reported_at_once(tmp_path, monkeypatch):
    put(tmp_path, "picture.png", b"x")
    paths = ["data/raw/none*.txt", "data/raw/missing.jsonl", "elsewhere/a.txt", "data/raw/picture.png"]
    with pytest.raises(InputProblem) as caught:
        curate(tmp_path, [{"type": "files", "paths": paths}], monkeypatch)
    problems = "\n".join(caught.value.problems)
    for words in ("no file matches 'data/raw/none*.txt'", "no file 'data/raw/missing.jsonl'", "not under data/raw/",
                  "picture.png: unknown kind of file"):  # fmt: skip
        assert words in problems


def test_missing_columns_and_damaged_files_are_reported_at_once(tmp_path, monkeypatch):
    put(tmp_path, "a.csv", "title,body\nx,y\n")
    put(tmp_path, "b.parquet", b"PAR1 this is not parquet")
    put(tmp_path, "c.jsonl.gz", gzip.compress(encoded("jsonl"))[:-30])
    put(tmp_path, "d.txt.zst", b"not zstandard at all")
    put(tmp_path, "e.csv", "")
    with pytest.raises(InputProblem) as caught:
        curate(tmp_path, [{"type": "files", "paths": ["data/raw/[a-e].*"]}], monkeypatch)
    problems = caught.value.problems
    assert [problem.split(":")[0] for problem in problems] == [
        "data/raw/a.csv", "data/raw/b.parquet", "data/raw/c.jsonl.gz", "data/raw/d.txt.zst", "data/raw/e.csv",
    ]  # fmt: skip
    assert "it has 'title', 'body'" in problems[0]


def test_a_corpus_that_the_rules_empty_is_a_problem_that_names_the_rules(tmp_path, monkeypatch):
    name = put(tmp_path, "short.jsonl", "".join(json.dumps({"text": f"word{n}"}) + "\n" for n in range(20)))
    with pytest.raises(InputProblem, match=r"all 20 documents were dropped.*gopher_min_words dropped 20"):
        curate(tmp_path, [{"type": "files", "paths": [name]}], monkeypatch)
    empty = put(tmp_path, "empty.txt", "")
    with pytest.raises(InputProblem, match="no document was found"):
        curate(tmp_path, [{"type": "files", "paths": [empty]}], monkeypatch)


def test_hidden_files_are_passed_over_and_lone_surrogates_are_no_stumbling_block(tmp_path, monkeypatch):
    put(tmp_path, "texts/.gitignore", "/texts.jsonl\n")
    extra = '{"text": "A lone half of a pair \\ud83d stands in this text.", "author": "\\udc00"}\n'
    put(tmp_path, "texts/texts.jsonl", encoded("jsonl") + extra.encode())
    context = curate(
        tmp_path, [{"type": "files", "paths": ["data/raw/texts/*"], "group_column": "author"}], monkeypatch
    )
    assert "A lone half of a pair  stands in this text." in {row["text"] for row in all_rows(context)}


def test_max_documents_stops_a_source(tmp_path, monkeypatch):
    name = put(tmp_path, "rows.jsonl", encoded("jsonl"))
    context = curate(tmp_path, [{"type": "files", "paths": [name], "max_documents": 15}], monkeypatch)
    assert len(all_rows(context)) == 15


def test_sources_of_files_have_names(tmp_path, monkeypatch):
    sources = [
        {"type": "files", "name": name, "paths": [put(tmp_path, f"{name}.txt", f"{sentence(n)}\n")]}
        for n, name in enumerate(("wiki", "web", "books", "notes"))
    ]
    context = curate(tmp_path, sources, monkeypatch)
    assert {row["source"] for row in all_rows(context)} == {"wiki", "web", "books", "notes"}
    assert [row["name"] for row in report(context)["sources"]] == ["books", "notes", "web", "wiki"]


def test_what_a_pattern_matches_that_is_no_file_is_named(tmp_path):
    put(tmp_path, "a.txt", sentence(1))
    (tmp_path / "data/raw/gone.txt").symlink_to("nothing.txt")
    os.mkfifo(tmp_path / "data/raw/pipe.txt")
    files, problems = user_files.find(["data/raw/*"], "curate.sources", tmp_path, user_files.DOCUMENTS)
    assert [file.name for file in files] == ["data/raw/a.txt"]
    assert problems == [
        "data/raw/gone.txt: is a link that leads to no file: remove it",
        "data/raw/pipe.txt: is no regular file: remove it",
    ]
