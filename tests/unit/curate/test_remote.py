"""Files at URLs: an S3 server and a web server on this machine, and what a chunk of such files is known by."""

from __future__ import annotations

import functools
import http.server
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from components.curate import component
from components.curate.files import parts, remote
from components.curate.parameters import CurateParameters
from core.errors import InputProblem
from tests.unit.curate.test_chunks import judged, lines, make  # noqa: F401
from tests.unit.curate.test_curate_files import put


@pytest.fixture(scope="module")
def s3() -> Iterator[object]:
    """A client of an S3 server of this process, with the bucket ``texts``; all clients find it by the environment."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        client = boto3.client("s3")
        client.create_bucket(Bucket="texts")
        yield client
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def web(tmp_path) -> Iterator[str]:
    """URL of a web server over the folder ``site``, which says nothing but size and time of a file."""
    (tmp_path / "site").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def at(*paths: str) -> list[dict]:
    return [{"type": "files", "paths": list(paths)}]


def test_objects_of_a_bucket_are_read_and_a_changed_one_is_fetched_alone(tmp_path, monkeypatch, s3, judged):  # noqa: F811
    monkeypatch.setattr(parts, "CHUNK", 8_000)
    for number in range(4):
        s3.put_object(
            Bucket="texts", Key=f"a/{number}.jsonl", Body=lines(range(number * 100, number * 100 + 25)).encode()
        )
    sources, cache = at("s3://texts/a/*.jsonl"), tmp_path / "cache"
    fetched, fetch = [], remote._fetch
    monkeypatch.setattr(remote, "_fetch", lambda file, path: (fetched.append(file.name), fetch(file, path)))
    first = make(tmp_path, sources=sources, cache=cache)
    assert fetched == [f"s3://texts/a/{number}.jsonl" for number in range(4)]
    # The same files under the same names are the same corpus, wherever they are.
    fetched.clear()
    assert make(tmp_path, sources=sources, cache=cache) == first
    assert fetched == []
    s3.put_object(Bucket="texts", Key="a/2.jsonl", Body=lines(range(200, 226)).encode())
    assert make(tmp_path, sources=sources, cache=cache) != first
    assert fetched == ["s3://texts/a/2.jsonl"]


def test_a_page_is_fetched_and_known_by_its_content_where_the_server_gives_no_mark(tmp_path, web, judged):  # noqa: F811
    (tmp_path / "site/a.jsonl").write_text(lines(range(60)))
    sources, cache = at(f"{web}/a.jsonl"), tmp_path / "cache"
    first = make(tmp_path, sources=sources, cache=cache)
    assert judged == [f"{web}/a.jsonl"]
    assert make(tmp_path, sources=sources, cache=cache) == first
    assert len(judged) == 1
    (tmp_path / "site/a.jsonl").write_text(lines(range(1, 61)))  # as long as before, or nearly
    assert make(tmp_path, sources=sources, cache=cache) != first
    assert len(judged) == 2


def test_a_file_that_changes_between_listing_and_reading_is_refused(tmp_path, web, monkeypatch):
    (tmp_path / "site/a.jsonl").write_text(lines(range(60)))
    [file], _ = remote.find([f"{web}/a.jsonl"], "curate.sources")
    (tmp_path / "site/a.jsonl").write_text(lines(range(61)))
    with pytest.raises(InputProblem, match=r"a\.jsonl: was changed while the stage ran"), remote.fetched([file]):
        pass
    os.unlink(tmp_path / "site/a.jsonl")
    with (
        pytest.raises(InputProblem, match=r"a\.jsonl: cannot be fetched .*run"),
        remote.fetched([file]),
    ):
        pass


def test_a_transfer_ends_where_it_is_longer_than_listed_or_would_fill_the_disk(tmp_path, web, monkeypatch):
    (tmp_path / "site/a.txt").write_bytes(b"x" * 10_000_000)
    [file], _ = remote.find([f"{web}/a.txt"], "curate.sources")
    with pytest.raises(InputProblem, match="was changed"), remote.fetched([replace(file, size=1000)]):
        pass
    monkeypatch.setattr(remote, "SPARE", 1 << 62)
    with pytest.raises(InputProblem, match=r"a\.txt: does not fit into .*set TMPDIR"), remote.fetched([file]):
        pass


def test_every_problem_with_addresses_is_named_at_once(tmp_path, web, s3):
    (tmp_path / "site/picture.png").write_bytes(b"x")
    put(tmp_path, "texts/a.txt", "text")
    paths = [
        f"{web}/missing.txt",
        "s3://texts/none/*.txt",
        "s3://nobucket/a.txt",
        f"{web}/picture.png",
        "data/raw/no.txt",
    ]
    with pytest.raises(InputProblem) as caught:
        make(tmp_path, sources=at(*paths))
    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == len(paths)
    assert all(path in problems for path in paths)
    assert "picture.png: unknown kind of file" in problems


def test_what_cannot_be_an_address_is_refused_before_the_stage_starts(tmp_path):
    put(tmp_path, "a.txt", "text")
    parameters = CurateParameters(
        sources=at("ftp://user:secret@host/a.txt", "gs://bucket/a.txt"), labels={"source": "none"}
    )
    found = component.check(parameters, tmp_path, {})
    assert "curate.sources: ftp://host/a.txt: unknown kind of address" in found[0]
    assert "secret" not in str(found)
    assert not remote.problems(["HTTPS://host/a.txt"], "curate.sources")
    [joined] = remote.problems(["https://host/a.txt::file:///etc/passwd"], "curate.sources")
    assert "joins two addresses" in joined
    if len(found) > 1:  # the library of Google's store is not installed here
        assert "pip install 'gcsfs'" in found[1]


def test_the_report_says_what_was_listed_and_the_user_that_changes_go_unnoticed(tmp_path, web):
    (tmp_path / "site/a.jsonl").write_text(lines(range(60)))
    make(tmp_path, sources=at(f"{web}/a.jsonl"))
    notes = json.loads((tmp_path / "out/report/report.json").read_text())["notes"]["files at URLs"]
    assert (notes["files"], notes["bytes"]) == (1, (tmp_path / "site/a.jsonl").stat().st_size)
    assert "changes there do not make the stage old" in (tmp_path / "events.jsonl").read_text()
