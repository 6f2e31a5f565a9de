"""Uploads beside a training, to a real S3 server: the newest first, faults outlived, no half taken for whole."""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest

from components.harness import uploads
from components.harness.remote_checkpoints import RemoteCheckpoints
from components.harness.uploads import Uploads
from core import object_stores
from tests.s3 import credentials, storage  # noqa: F401  (fixtures)
from tests.workspace import wait_until

WORK = "pretrain/0123456789abcdef0123"


@pytest.fixture
def bucket(credentials, request, monkeypatch) -> Iterator[str]:  # noqa: F811
    """A new bucket's name."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(uploads, "PAUSE_SECONDS", 0.01)
    name = f"b{abs(hash(request.node.nodeid))}"
    boto3.client("s3").create_bucket(Bucket=name)
    yield name
    s3fs.S3FileSystem.clear_instance_cache()


def at(url: str) -> RemoteCheckpoints:
    return RemoteCheckpoints(url, WORK, b"s" * 32)


def write(folder: Path, step: int, size: int = 1000) -> Path:
    """A checkpoint as the training writes it: whole at once."""
    partial, final = folder / f"step-{step:010d}.partial", folder / f"step-{step:010d}"
    partial.mkdir(parents=True)
    (partial / "model.safetensors").write_bytes(bytes([step]) * size)
    (partial / "training.json").write_text("{}\n")
    return partial.rename(final)


def newest(remote: RemoteCheckpoints) -> str | None:
    found = remote.newest(pytest.fail)
    return found[0].folder if found else None


def test_every_new_checkpoint_reaches_the_store_and_the_oldest_leave_it(bucket, tmp_path):
    remote, folder, seen = at(f"s3://{bucket}/a/b"), tmp_path / "checkpoints", []
    write(folder, 8)  # there before, as after a kill
    with Uploads(remote, folder, keep=2, warn=pytest.fail, log=lambda name, seconds: seen.append(name)) as running:
        wait_until(lambda: newest(remote) == "step-0000000008", what="the first")
        for step in (16, 24):
            write(folder, step, 300_000)
            wait_until(lambda step=step: newest(remote) == f"step-{step:010d}", what=f"step {step}")
            shutil.rmtree(folder / f"step-{step - 8:010d}")  # as the training prunes its own
        write(folder, 32)
        running.finish(30)
    assert seen == [f"step-{step:010d}" for step in (8, 16, 24, 32)]
    assert [checkpoint.folder for checkpoint in remote.newest(pytest.fail)] == ["step-0000000032", "step-0000000024"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]  # no links are left
    assert remote.fetch_newer(tmp_path / "elsewhere", pytest.fail, bool) == "step-0000000032"
    assert (tmp_path / "elsewhere/step-0000000032/model.safetensors").read_bytes() == bytes([32]) * 1000


def test_a_store_that_fails_is_said_once_and_that_it_works_again_too(bucket, tmp_path):
    client, remote, folder = boto3.client("s3"), at(f"s3://{bucket}/a"), tmp_path / "checkpoints"
    client.delete_bucket(Bucket=bucket)
    warnings: list[str] = []
    write(folder, 8)
    with Uploads(remote, folder, keep=2, warn=warnings.append) as running:
        wait_until(lambda: warnings, what="the warning")
        write(folder, 16)
        wait_until(lambda: running._done == "step-0000000016", what="the second failure")
        client.create_bucket(Bucket=bucket)
        write(folder, 24)
        running.finish(30)
    assert len(warnings) == 2, warnings
    assert "step-0000000008 did not reach s3://" in warnings[0] and "the training goes on" in warnings[0]
    assert "from step-0000000024 on" in warnings[1]
    assert newest(remote) == "step-0000000024"


def test_a_store_that_does_not_answer_holds_up_no_end(tmp_path, bucket, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        warnings: list[str] = []
        assert "has not answered for 0.3 s" in str(object_stores.refused("s3://bucket/a", seconds=0.3))
        write(tmp_path / "checkpoints", 8)
        monkeypatch.setattr(uploads, "LOOK_SECONDS", -4.8)  # the thread, which waits for the store, is left to itself
        started = time.monotonic()
        with Uploads(at("s3://bucket/b"), tmp_path / "checkpoints", keep=2, warn=warnings.append) as running:
            running.finish(0.3)
        assert time.monotonic() - started < 5
        assert len(warnings) == 1 and "step-0000000008 did not reach" in warnings[0]


@pytest.mark.parametrize("wrong", ["s3://nobody-made-this/a", "s3://bucket/a"])
def test_what_cannot_be_written_is_known_at_once(wrong, bucket, monkeypatch):
    if wrong == "s3://bucket/a":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    started = time.monotonic()
    assert "check address, credentials and access" in str(object_stores.refused(wrong))
    assert time.monotonic() - started < 15
    assert object_stores.refused(f"s3://{bucket}/a") is None or wrong == "s3://bucket/a"


def _upload(url: str, folder: Path) -> None:
    with Uploads(at(url), folder, keep=2, warn=print) as running:
        running.finish(60)


@contextlib.contextmanager
def _stalling(storage: str, *words: bytes) -> Iterator[tuple[str, threading.Event]]:  # noqa: F811
    """A way to the server that carries everything until a request holds all the words, and then nothing more."""
    there, stalled = urlsplit(storage), threading.Event()

    def carry(source: socket.socket, target: socket.socket, *, watched: bool) -> None:
        with contextlib.suppress(OSError):
            while (chunk := source.recv(65536)) and not (watched and all(word in chunk for word in words)):
                target.sendall(chunk)
            if chunk:
                stalled.set()
                return
        for each in (source, target):
            each.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                behind = socket.create_connection((there.hostname, there.port))
                for source, target in ((client, behind), (behind, client)):
                    threading.Thread(
                        target=carry, args=(source, target), kwargs={"watched": source is client}, daemon=True
                    ).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", stalled


def test_kill_9_amid_an_upload_leaves_no_checkpoint_and_the_next_upload_makes_one(
    bucket,
    tmp_path,
    storage,  # noqa: F811
    monkeypatch,
):
    """The store is reached through a server that takes the first file of the second checkpoint, and then nothing."""
    remote, folder = at(f"s3://{bucket}/a"), tmp_path / "checkpoints"

    with _stalling(storage, b"step-0000000016", b"training.json") as (url, stalled):
        write(folder, 8)
        _upload(remote.url, folder)
        write(folder, 16)
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", url)
            process = multiprocessing.get_context("spawn").Process(target=_upload, args=(remote.url, folder))
            process.start()
        assert stalled.wait(60)
        process.kill()
        process.join()
    keys = [each["Key"] for each in boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert any("step-0000000016" in key and key.endswith("model.safetensors") for key in keys), keys
    assert newest(remote) == "step-0000000008"
    assert remote.fetch_newer(tmp_path / "elsewhere", pytest.fail, bool) == "step-0000000008"
    _upload(remote.url, folder)
    assert newest(remote) == "step-0000000016"
