"""Whose data a deletion request means."""

from __future__ import annotations

import threading

import pytest

from core.errors import InputProblem
from core.workspace import Workspace, sqlite_url
from flows.feedback import deletion, export
from flows.feedback.deletion import Traces, in_words, subject_of
from registry.feedback.answers import keep, rate
from tests.unit.registry.conftest import finished, registry  # noqa: F401  (fixtures)
from tests.unit.registry.test_feedback import answered, version  # noqa: F401  (a fixture)


@pytest.mark.parametrize(
    ("person", "conversation", "told"),
    [(None, None, "either"), ("ada", "talk", "either"), ("", None, "nobody is meant"), (None, " ", "the name of")],
)
def test_a_person_or_a_conversation_is_meant(person, conversation, told):
    with pytest.raises(InputProblem, match=told):
        subject_of(person, conversation)


def test_what_follows_is_said_before_it_is_done():
    found = Traces(1, 2, {"pairs.jsonl": 3}, ["abc"], ["assistant:5"], ["laptop (assistant:5)"], ["not looked at: x"])
    text = "\n".join(in_words(found))
    for part in ("1 answer, 2 votes", "3 in pairs.jsonl", "assistant:5. These models are not changed",
                 "1 exported file", "Served now: laptop (assistant:5)", "not looked at: x"):  # fmt: skip
        assert part in text
    assert "No recorded model" in "\n".join(in_words(Traces(1)))
    assert "not everything could be looked at" in "\n".join(in_words(Traces(1, notes=["not looked at: x"])))


def test_an_export_under_way_does_not_bring_back_what_is_deleted(tmp_path, monkeypatch, registry, version):  # noqa: F811
    keep(registry, answered(version))
    rate(registry, "chatcmpl-1", "ada", thumb="up")
    monkeypatch.setenv("STEMMA_REGISTRY_URL", sqlite_url(tmp_path / "registry.db"))
    monkeypatch.setattr(export.raw_data, "ensure", lambda root, changed: None)
    (tmp_path / "params.yaml").write_text("curate: {}")
    workspace = Workspace(tmp_path, tmp_path / ".stemma")
    request = threading.Thread(target=lambda: deletion.delete(workspace, subject_of("ada", None)))

    def asked(root):  # before the files are written
        if threading.current_thread() is not request:
            request.start()
            request.join(1.0)
        return {}

    monkeypatch.setattr(export.dvc, "status", asked)
    assert export.export(workspace).changed  # it had read the registry before
    request.join()
    assert not any((tmp_path / export.FOLDER).iterdir())
