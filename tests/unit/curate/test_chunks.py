"""Chunks: how sources are cut, that it changes no document, and that a chunk is judged once."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from components.contract import Context
from components.curate import component, judging, pipeline
from components.curate.files import parts
from components.curate.files.chunks import Chunk, chunks
from components.curate.ledger import Ledger
from components.curate.parameters import CurateParameters
from core.errors import InputProblem
from tests.unit.curate.test_curate_files import put
from tests.unit.curate.workspace import sentence, write_instructions

SOURCES = [{"type": "files", "paths": ["data/raw/texts/*"]}]


def lines(numbers) -> str:
    return "".join(json.dumps({"text": sentence(n)}) + "\n" for n in numbers)


def make(
    workspace: Path, *, sources=SOURCES, cache: Path | None = None, engine: dict | None = None, **more
) -> dict[str, str]:
    """Curate in the workspace; digests of everything that came out. ``more``: parameters of the stage."""
    parameters = {
        "sources": sources,
        "instructions": write_instructions(workspace),
        "labels": {"source": "none"},
        "engine": engine or {"workers": 1},
        **more,
    }
    outputs = {each.name: workspace / "out" / each.name for each in component.outputs}
    for folder in (*outputs.values(), workspace / "scratch"):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.*"):
            path.unlink()
    inputs = {"raw": workspace / "data/raw"}
    component.run(
        Context(
            CurateParameters(**parameters), 1337, inputs, outputs, workspace / "scratch", cache=cache,
            events=workspace / "events.jsonl",
        )
    )  # fmt: skip
    files = sorted(path for folder in outputs.values() for path in folder.rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def documents(workspace: Path, **source) -> list[dict]:
    parameters = CurateParameters(sources=[{**SOURCES[0], **source}], labels={"source": "none"})
    ledger = Ledger(3)
    found = [row for chunk in chunks(parameters, workspace) for batch in chunk.read(workspace, ledger)
             for row in batch.to_pylist()]  # fmt: skip
    assert not ledger.problems
    assert sum(tally.rows for tally in ledger.files.values()) >= len(found)
    return found


@pytest.fixture
def judged(monkeypatch) -> list[str]:
    """Names of the chunks that were judged and not found."""
    names, write = [], judging._write
    monkeypatch.setattr(
        judging, "_write", lambda chunk, orders, path: (names.append(chunk.name), write(chunk, orders, path))
    )
    return names


def test_large_files_are_cut_and_no_document_changes_by_it(tmp_path, monkeypatch):
    put(tmp_path, "texts/a.jsonl", "\ufeff" + lines(range(300)) + "\n\n" + lines(range(300, 310)).rstrip("\n"))
    table = pa.Table.from_pylist([{"text": sentence(n)} for n in range(400, 700)])
    pq.write_table(table, tmp_path / "data/raw/texts/b.parquet", row_group_size=20, compression="none")
    put(tmp_path, "texts/c.txt", sentence(1))
    put(tmp_path, "texts/d.txt", sentence(2))
    whole = documents(tmp_path)
    assert len(whole) == 612
    assert whole[309]["origin"] == "data/raw/texts/a.jsonl#312"
    monkeypatch.setattr(parts, "CHUNK", 10_000)
    parameters = CurateParameters(sources=SOURCES, labels={"source": "none"})
    cut = list(chunks(parameters, tmp_path))
    assert len(cut) > 10 and sum(chunk.continued is not None for chunk in cut) > 8
    assert documents(tmp_path) == whole
    # What max_documents counts does not depend on where files are cut.
    assert documents(tmp_path, max_documents=305) == whole[:305]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "jsonl.zst"])
def test_tables_without_an_index_are_cut_between_rows_and_no_document_changes_by_it(tmp_path, monkeypatch, kind):
    rows = [f'{sentence(n)} "said"\n{sentence(n + 500)}' if n % 5 == 0 else sentence(n) for n in range(200)]
    if kind.startswith("jsonl"):
        text = lines(range(200)) + "broken\n"
    else:
        written = io.StringIO()
        writer = csv.writer(written, delimiter="," if "csv" in kind else "\t", lineterminator="\n")
        writer.writerows([["text", "n"], *([row, n] for n, row in enumerate(rows)), ["too", "many", "fields"]])
        text = "\ufeff" + written.getvalue()
    path = tmp_path / put(tmp_path, f"texts/a.{kind}", "")
    pack = {"gz": gzip.compress, "zst": zstandard.compress}.get(kind.rpartition(".")[2], bytes)
    path.write_bytes(pack(text.encode()))
    monkeypatch.setattr(parts, "LEAST_UNPACKED", 1000)
    whole, unlike = documents(tmp_path), str(make(tmp_path))
    assert len(whole) == 200 and whole[150]["origin"] != whole[0]["origin"]
    monkeypatch.setattr(parts, "CHUNK", 2000)
    parameters = CurateParameters(sources=SOURCES, labels={"source": "none"})
    cut = list(chunks(parameters, tmp_path))
    assert len(cut) > 4 and sum(chunk.size for chunk in cut) <= path.stat().st_size
    assert documents(tmp_path) == whole and str(make(tmp_path)) == unlike
    # What could be read otherwise in pieces is one piece: here a line that is not UTF-8.
    path.write_bytes(pack((text.replace("broken", "") + "é, 1\n").encode("latin-1", "replace").replace(b"?", b"")))
    assert len(list(chunks(parameters, tmp_path))) == (len(cut) if kind.startswith("jsonl") else 1)
    path.write_bytes(pack(text.encode())[:-9])
    assert len(list(chunks(parameters, tmp_path))) == (1 if kind in ("csv.gz", "jsonl.zst") else len(cut))


def test_small_files_are_together_and_one_that_comes_changes_few_of_the_parts(tmp_path):
    names = [put(tmp_path, f"texts/{n:04d}.txt", sentence(n) * 3) for n in range(300)]
    files = [parts.UserFile(name, tmp_path / name, "text") for name in names]
    before = [part.files for part in parts.packed(files, 20_000)]
    assert 10 < len(before) < 60
    assert sum(before, ()) == tuple(files)
    new = parts.UserFile("data/raw/texts/0100a.txt", files[0].path, "text")
    after = [part.files for part in parts.packed([*files[:101], new, *files[101:]], 20_000)]
    assert len(set(after) - set(before)) <= 3


def test_a_changed_file_is_judged_again_and_no_other(tmp_path, monkeypatch, judged):
    monkeypatch.setattr(parts, "CHUNK", 4_000)
    for name, start in (("a", 0), ("b", 1000), ("c", 2000)):
        put(tmp_path, f"texts/{name}.jsonl", lines(range(start, start + 60)))
    cache = tmp_path / "cache"
    first = make(tmp_path, cache=cache)
    total = len(judged)
    assert total >= 9
    judged.clear()
    assert make(tmp_path, cache=cache) == first and judged == []
    put(tmp_path, "texts/b.jsonl", lines(range(1000, 1060)) + lines([5000]))
    warm = make(tmp_path, cache=cache)
    assert len(judged) == 1 and judged[0].startswith("data/raw/texts/b.jsonl from line")
    judged.clear()
    assert make(tmp_path, cache=tmp_path / "cold") == warm != first
    assert len(judged) == total


def test_processes_and_compiled_code_are_for_what_is_new(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "CHUNK", 4_000)
    sizes, seconds, run = [], [], pipeline.engine.run
    monkeypatch.setattr(pipeline.compilation, "is_worth", lambda size: sizes.append(size))
    monkeypatch.setattr(pipeline.engine, "run", lambda *given: seconds.append(given[3]) or run(*given))
    put(tmp_path, "texts/a.jsonl", lines(range(200)))
    cache, whole = tmp_path / "cache", (tmp_path / "data/raw/texts/a.jsonl").stat().st_size
    make(tmp_path, cache=cache)
    make(tmp_path, cache=cache)
    put(tmp_path, "texts/a.jsonl", lines(range(201)))
    make(tmp_path, cache=cache)
    assert sizes[:2] == [whole, 0] and 0 < sizes[2] < 2 * 4_000 < whole
    assert seconds == [size / pipeline.JUDGED for size in sizes]
    # Where enough is new, what follows is not looked for.
    monkeypatch.setattr(pipeline.compilation, "FROM_NOTHING", 8_000)
    monkeypatch.setattr(pipeline.judging, "known", lambda *_: None)
    parameters = CurateParameters(sources=SOURCES, labels={"source": "none"})
    looked_at, rest, new = pipeline._look(None, chunks(parameters, tmp_path), whole)
    assert (len(looked_at), new) == (2, whole) and next(rest)[0] == 2


def test_other_rules_judge_anew_and_what_is_decided_globally_does_not(tmp_path, judged):
    put(tmp_path, "texts/a.jsonl", lines(range(40)))
    orders = judging.Orders(
        CurateParameters(sources=SOURCES, labels={"source": "none"}), 1, tmp_path, tmp_path / "c", tmp_path, "code"
    )
    [chunk] = chunks(orders.parameters, tmp_path)

    def key(seed=1, made_by="code", content="x", license="unknown", **changed) -> str:
        parameters = orders.parameters.model_copy(update=changed)
        licensed = replace(chunk, source=chunk.source.model_copy(update={"license": license}))
        return judging._key(licensed, judging.Orders(parameters, seed, tmp_path, tmp_path, tmp_path, made_by), content)

    same = CurateParameters(
        sources=SOURCES, labels={"source": "none"}, engine={"workers": 7}, split={"test": 0.2}, shard_megabytes=7,
        deduplication={"threshold": 0.9, "split_threshold": 0.7},
    )  # fmt: skip
    assert key() == key(**dict(same))
    others = [
        key(seed=2), key(made_by="other code"), key(content="y"), key(unicode_form="NFKC"), key(redact=("email",)),
        key(deduplication=CurateParameters(deduplication={"shingle_words": 5}).deduplication), key(examples=4),
        key(license="MIT"),
    ]  # fmt: skip
    assert len({key(), *others}) == len(others) + 1


def test_an_extra_that_is_not_installed_is_not_searched_for_among_all_packages(monkeypatch):
    monkeypatch.setattr(judging.importlib.metadata, "packages_distributions", lambda: pytest.fail("that takes seconds"))
    monkeypatch.setattr(judging, "find_spec", lambda library: None)
    assert judging._version("pyarrow") == pa.__version__
    assert judging._version("a_library_of_an_extra") == ""


def test_workers_change_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "CHUNK", 4_000)
    put(tmp_path, "texts/a.jsonl", lines(range(80)) + '{"text": 5}\n' + lines(range(40)))
    put(tmp_path, "texts/b.txt", f"Write to jane@example.org. {sentence(500)}\n")
    relaxed = [{**SOURCES[0], "license": "MIT"}]
    assert make(tmp_path, sources=relaxed) == make(tmp_path, sources=relaxed, engine={"workers": 2})


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    put(tmp_path, "texts/a.jsonl", lines(range(40)))
    write = judging._write

    def written_meanwhile(chunk, orders, path):
        write(chunk, orders, path)
        put(tmp_path, "texts/a.jsonl", lines(range(41)))

    monkeypatch.setattr(judging, "_write", written_meanwhile)
    with pytest.raises(InputProblem, match=r"a\.jsonl: was changed while it was read"):
        make(tmp_path, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.parquet"))


@pytest.mark.parametrize("kind", ["jsonl", "txt", "zip", "parquet"])
def test_a_file_that_vanishes_or_shrinks_while_it_is_read_is_named(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(parts, "CHUNK", 1000)
    path = tmp_path / put(tmp_path, f"texts/a.{kind}", lines(range(40)))
    if kind == "zip":
        content = path.read_bytes()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.jsonl", content)
    elif kind == "parquet":
        pq.write_table(pa.table({"text": [sentence(n) for n in range(40)]}), path)
    content, read, cut = path.read_bytes(), Chunk.read, parts._cut

    def meanwhile(function, change):
        return lambda *arguments: (change(), function(*arguments))[1]

    for change in (path.unlink, lambda: path.write_bytes(content[: len(content) // 2])):
        with monkeypatch.context() as patch, pytest.raises(InputProblem, match=rf"a\.{kind}.*: was (removed|changed)"):
            patch.setattr(Chunk, "read", meanwhile(read, change))
            make(tmp_path)
        path.write_bytes(content)
    with monkeypatch.context() as patch, pytest.raises(InputProblem, match=rf"a\.{kind}: was removed"):
        patch.setattr(parts, "_cut", meanwhile(cut, path.unlink))
        make(tmp_path)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path, monkeypatch, judged):
    put(tmp_path, "texts/a.jsonl", lines(range(2400)))
    cache = tmp_path / "cache"
    program = (
        "import sys, pathlib\nfrom components.curate.files import parts\n"
        "from tests.unit.curate.test_chunks import make\n"
        "if __name__ == '__main__':\n    parts.CHUNK = 40_000\n    place = pathlib.Path(sys.argv[1])\n"
        "    make(place, cache=place / 'cache', engine={'workers': 2})\n"
    )
    run = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(cache.glob("*.parquet"))) < 3:
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in cache.glob("*.parquet")}
    monkeypatch.setattr(parts, "CHUNK", 40_000)
    resumed = make(tmp_path, cache=cache)
    total = len(list(chunks(CurateParameters(sources=SOURCES, labels={"source": "none"}), tmp_path)))
    assert 0 < len(judged) <= total - len(finished) < total
    assert not list(cache.glob("*.partial")) and not list(cache.glob(".*.partial"))
    judged.clear()
    assert make(tmp_path, cache=tmp_path / "cold") == resumed
    assert len(judged) == total


def test_a_kept_file_that_was_damaged_is_made_again_or_named(tmp_path, judged):
    put(tmp_path, "texts/a.jsonl", lines(range(60)))
    cache = tmp_path / "cache"
    whole = make(tmp_path, cache=cache)
    [kept] = cache.glob("*.parquet")
    content = kept.read_bytes()
    for rest in (b"", b"garbage", content[:-100]):
        kept.write_bytes(rest)
        judged.clear()
        assert make(tmp_path, cache=cache) == whole
        assert len(judged) == 1
    named = 0
    for place in range(100, len(content) - 100, len(content) // 20):
        kept.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            assert make(tmp_path, cache=cache) == whole, f"byte {place} changed the corpus"
        except InputProblem as problem:
            assert f"{kept}: is damaged" in str(problem)
            named += 1
    assert named
