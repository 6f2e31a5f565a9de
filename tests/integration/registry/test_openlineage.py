"""The export says what OpenLineage asks for, and a server is told each thing once."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openlineage.client.transport import http

from registry.db.database import open as open_registry
from registry.errors import ExportFailed
from registry.lineage import openlineage
from tests.integration.registry.openlineage_schema import RUN_EVENT


def exported(project, tmp_path) -> list[dict]:
    file = tmp_path / "events.jsonl"
    with open_registry(project.workspace.registry_url) as registry, registry.read() as session:
        count = openlineage.write(session, file)
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(events) == count
    return events


@contextmanager
def server(status: int = 201) -> Iterator[tuple[str, list[dict]]]:
    received: list[dict] = []

    class Receives(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append({"path": self.path, **json.loads(self.rfile.read(int(self.headers["Content-Length"])))})
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Receives)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}", received
    finally:
        listening.shutdown()
        listening.server_close()


def test_events_are_valid_and_complete(grown, tmp_path):
    events = exported(grown, tmp_path)
    validator = Draft202012Validator(RUN_EVENT, format_checker=FormatChecker())
    assert [error.message for event in events for error in validator.iter_errors(event)] == []
    broken = {**events[0], "run": {"runId": "no uuid"}}
    assert list(validator.iter_errors(broken)), "the schema can fail"

    states = Counter((event["job"]["name"], event["eventType"]) for event in events)
    assert states == {
        (job, state): 3
        for job in ("pipeline", "curate", "pretrain", "evaluate@base")
        for state in ("START", "COMPLETE")
    }
    trained = [event for event in events if event["job"]["name"] == "pretrain" and event["eventType"] == "COMPLETE"]
    facets = trained[1]["outputs"][0]["facets"]
    assert facets["stemma_model"]["model"] == "base" and facets["stemma_model"]["version"] == 2
    assert facets["stemma_metrics"]["metrics"][0]["name"] == "loss"
    parents = {event["run"]["runId"] for event in events if event["job"]["name"] == "pipeline"}
    assert {event["run"]["facets"]["parent"]["run"]["runId"] for event in trained} <= parents

    made = {(d["name"], d["facets"]["version"]["datasetVersion"]) for event in events for d in event["outputs"]}
    read = {(d["name"], d["facets"]["version"]["datasetVersion"]) for event in events for d in event["inputs"]}
    assert {name for name, _ in read - made} == {"data/raw"}, "only raw data comes from nowhere"
    assert exported(grown, tmp_path) == events, "exporting again says the same"


def test_a_server_is_told(grown):
    with (
        server() as (url, received),
        open_registry(grown.workspace.registry_url) as registry,
        registry.read() as session,
    ):
        assert openlineage.send(session, url) == len(received) == 24
    assert {event["path"] for event in received} == {"/api/v1/lineage"}


def test_a_server_that_refuses_or_is_away(grown, monkeypatch):
    monkeypatch.setitem(http.DEFAULT_RETRY_CONFIG, "backoff_factor", 0.01)  # its tries, without the seconds between
    with open_registry(grown.workspace.registry_url) as registry, registry.read() as session:
        with server(status=403) as (url, _), pytest.raises(ExportFailed, match=r"took 0 events, then: .*403"):
            openlineage.send(session, url)
        with pytest.raises(ExportFailed, match="check that the server runs") as told:
            openlineage.send(session, "http://ada:secret@127.0.0.1:9")
        assert "secret" not in str(told.value)


def test_a_file_that_cannot_be_written(grown, tmp_path):
    with open_registry(grown.workspace.registry_url) as registry, registry.read() as session:
        with pytest.raises(ExportFailed, match="cannot be written"):
            openlineage.write(session, tmp_path / "missing" / "events.jsonl")
