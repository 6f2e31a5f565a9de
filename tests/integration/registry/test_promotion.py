"""Promotions on real models: judged, signed, chained, and only one of two at once."""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import pytest
from sqlalchemy import text

import registry.promotion.promote
from core.errors import InputProblem
from registry.db.database import open as open_registry
from registry.errors import InvalidBytes, PromotionConflict, PromotionRefused, UnknownReference
from registry.integrity.chain import broken_link, links
from registry.integrity.verification import verify
from registry.lineage.catalog import models
from registry.lineage.sync import sync
from registry.promotion.history import history
from registry.promotion.promote import promote
from registry.store.collection import collect
from registry.store.run_locks import InUse

# Three processes that promote at the same moment, forked where everything is imported: imports take far longer.
# So one process does it for each line (a folder, the registry's URL, who gets which alias) that it reads.
AT_ONCE = """
import gc, json, multiprocessing, os, sys
import registry.promotion.sanity, mlflow.store.tracking.sqlalchemy_store
import matplotlib.figure, matplotlib.backends.backend_agg, model_signing.signing, model_signing.verifying
from registry.promotion.promote import promote
from core.workspace import Workspace
gc.freeze()  # else each process's first collection copies all of the libraries' memory

context = multiprocessing.get_context("fork")
multiprocessing.get_context = lambda method=None: context  # those that try the model have their imports, too

def one(version, alias, barrier, end):
    barrier.wait()
    try:
        promote(Workspace.find(), version, alias, "at once", version)
    except Exception as error:
        end.send(f"{type(error).__name__}: {error}")
    else:
        end.send(None)

for line in sys.stdin:
    folder, url, wanted = json.loads(line)
    os.chdir(folder)
    os.environ.pop("STEMMA_REGISTRY_URL", None)
    if url is not None:
        os.environ["STEMMA_REGISTRY_URL"] = url
    barrier = context.Barrier(len(wanted))
    ends = []
    for version, alias in wanted:
        end, other = context.Pipe(duplex=False)
        context.Process(target=one, args=(version, alias, barrier, other)).start()
        ends.append(end)
    print(json.dumps([end.recv() for end in ends]), flush=True)
"""


@pytest.fixture(scope="module")
def promoters():
    """A function that lets three processes promote at once."""
    command = [sys.executable, "-c", AT_ONCE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def at_once(folder, url, wanted):
            print(json.dumps([str(folder), url, wanted]), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield at_once
        process.stdin.close()


@pytest.fixture
def synced(project):
    sync(project.workspace, run="first")
    return project


def retrain(project, old: str, new: str, run: str) -> None:
    project.set(old, new)
    project.repro(run)
    sync(project.workspace, run=run)


def told(project):
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        return (
            history(session, "base"),
            broken_link(links(session)),
            {line.version: line.aliases for line in models(session)},
        )


def test_generations(synced):
    workspace = synced.workspace
    first = promote(workspace, "base", "champion", "the first", "Ada")
    assert (first.action, first.previous, first.forced, first.verdict.champion) == ("promote", None, False, None)
    assert json.loads(first.gate.read_text()) == first.verdict.as_dict() | {"passed": True}
    assert promote(workspace, "base", "champion", "again", "Ada").action == "unchanged"

    retrain(synced, "quality: 0.8", "quality: 0.95", "second")
    second = promote(workspace, "base:2", "champion", "better", "Ada")
    assert (second.action, second.previous) == ("promote", 1)

    retrain(synced, "quality: 0.95", "quality: 0.6", "third")
    third = promote(workspace, "base:3", "champion", "hope", "Bob")
    assert (third.action, third.accepted, third.key_id) == ("reject", False, None)
    (failed,) = [check for check in third.verdict.checks if not check.passed]
    assert failed.name == "accuracy against base:2" and "outside the noise" in failed.detail

    forced = promote(workspace, "base:3", "champion", "needed for the demo", "Bob", force=True)
    assert (forced.action, forced.forced) == ("promote", True)
    records, broken, aliases = told(synced)
    assert [(row.action, row.version, row.previous, row.passed, row.forced, row.actor) for row in records] == [
        ("promote", 1, None, True, False, "Ada"),
        ("promote", 2, 1, True, False, "Ada"),
        ("reject", 3, 2, False, False, "Bob"),
        ("promote", 3, 2, False, True, "Bob"),
    ]
    assert broken is None
    assert aliases == {1: [], 2: [], 3: ["champion"]}


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)  # the gate sees no database
def test_another_evaluation_set_is_not_compared(synced):
    promote(synced.workspace, "base", "champion", "the first", "Ada")
    retrain(synced, "keep: 10", "keep: 11", "second")
    outcome = promote(synced.workspace, "base:2", "champion", "more data", "Ada")
    assert outcome.action == "reject"
    failed = next(check for check in outcome.verdict.checks if not check.passed)
    assert failed.detail.startswith("not comparable")


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)  # the gate sees no database
def test_data_that_nothing_compared_is_unknown(synced):
    """Asked for it, the gate says what it cannot know, also of a curation that compares nothing."""
    synced.set("promotion:\n", "promotion:\n  max_contamination: 0.0\n")
    outcome = promote(synced.workspace, "base", "champion", "the first", "Ada")
    (check,) = [check for check in outcome.verdict.checks if check.name.startswith("accuracy on unseen data")]
    assert outcome.accepted and check.detail.startswith("unknown for evaluation set ")
    assert "data/corpus" in check.detail and "compared with no evaluation set" in check.detail
    kept = json.loads(outcome.gate.read_text())["checks"]
    assert {"name": check.name, "passed": True, "detail": check.detail} in kept


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)  # the gate sees no database
def test_pickled_weights_are_refused(synced):
    retrain(synced, "weights: safetensors", "weights: pickle", "second")
    outcome = promote(synced.workspace, "base:2", "champion", "old format", "Ada")
    failed = {check.name: check.detail for check in outcome.verdict.checks if not check.passed}
    assert failed.keys() == {"weights in safetensors only", "model loads and answers"}
    assert failed["model loads and answers"].startswith("not tried")


def test_what_cannot_be_judged(synced):
    workspace = synced.workspace
    with pytest.raises(PromotionRefused, match="--reason"):
        promote(workspace, "base", "champion", "  ", "Ada")
    with pytest.raises(PromotionRefused, match="cannot be an alias"):
        promote(workspace, "base", "the best", "why", "Ada")
    with pytest.raises(UnknownReference, match="known: base"):
        promote(workspace, "bass", "champion", "why", "Ada")
    synced.set("min: 0.5", "mn: 0.5")
    with pytest.raises(InputProblem, match=r"promotion\.base\.accuracy\.mn"):
        promote(workspace, "base", "champion", "why", "Ada")
    assert told(synced)[0] == []


def test_the_slower_of_two_is_told_who_won(two_versions, monkeypatch):
    judge = registry.promotion.promote.judge

    def overtaken(*arguments):
        monkeypatch.setattr(registry.promotion.promote, "judge", judge)
        promote(two_versions.workspace, "base:1", "champion", "mine first", "Eve")
        with pytest.raises(InUse):  # which would take away the files that are tried and signed
            collect(two_versions.workspace, delete=True)
        return judge(*arguments)

    monkeypatch.setattr(registry.promotion.promote, "judge", overtaken)
    with pytest.raises(PromotionConflict, match=r"given to version 1 by Eve at .*mine first"):
        promote(two_versions.workspace, "base:2", "champion", "mine", "Ada")
    records, broken, _ = told(two_versions)
    assert [(row.actor, row.version) for row in records] == [("Eve", 1)] and broken is None


def test_a_refusal_against_a_champion_of_before_is_not_recorded(two_versions, monkeypatch):
    """It would stand for ever: a run judges no version again that the gate has refused by the same rules."""
    workspace, judge = two_versions.workspace, registry.promotion.promote.judge
    promote(workspace, "base:2", "champion", "better", "Ada")

    def overtaken(*arguments):
        monkeypatch.setattr(registry.promotion.promote, "judge", judge)
        promote(workspace, "base:1", "champion", "the other one is wrong", "Eve", force=True)
        return judge(*arguments)

    monkeypatch.setattr(registry.promotion.promote, "judge", overtaken)
    with pytest.raises(PromotionConflict, match="given to version 1 by Eve"):
        promote(workspace, "base:1", "champion", "mine", "Ada")
    assert [row.action for row in told(two_versions)[0]] == ["promote", "promote"]


def test_three_processes_at_once(two_versions, registry_url, promoters):
    wanted = [("base:1", "champion"), ("base:2", "champion"), ("base:2", "candidate")]
    errors = promoters(two_versions.root, registry_url, wanted)
    records, broken, _ = told(two_versions)
    assert broken is None
    assert errors[2] is None, errors
    assert all(error is None or "was given to version" in error for error in errors[:2])
    assert errors.count(None) == len(records)


def test_a_row_edited_by_hand_is_found(synced):
    promote(synced.workspace, "base", "champion", "the first", "Ada")
    promote(synced.workspace, "base", "candidate", "the second", "Ada")
    with open_registry(synced.workspace.registry_url) as opened:
        with opened.engine.begin() as connection:
            if opened.engine.dialect.name == "postgresql":
                connection.execute(text("DROP TRIGGER promotions_append_only ON promotions"))
            else:
                connection.execute(text("DROP TRIGGER promotions_no_update"))
            connection.execute(text("UPDATE promotions SET actor = 'Eve' WHERE id = 2"))
        with opened.read() as session:
            broken = broken_link(links(session))
            assert (broken.id, broken.alias, broken.why) == (2, "base@candidate", "content")


def test_signatures(synced):
    workspace = synced.workspace
    with pytest.raises(InvalidBytes, match="not signed"):
        verify(workspace, "base")
    outcome = promote(workspace, "base", "champion", "the first", "Ada")
    assert verify(workspace, "base@champion").keys == [outcome.key_id]
    key = workspace.home / "keys" / "signing.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and b"PRIVATE KEY" in key.read_bytes()

    (folder,) = [path for path in (workspace.home / "models").iterdir() if not path.name.startswith(".")]
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InvalidBytes, match="was altered"):
        verify(workspace, "base@champion")
