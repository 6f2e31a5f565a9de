"""Recording twice changes nothing; family trees reach raw data, through the execution that was really meant."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from core.workspace import Workspace
from registry.db.schema import Base, Event, Execution
from registry.lineage.catalog import models
from registry.lineage.receipts import GitRecord, WorkspaceRecord
from registry.lineage.recording import associate, record_cached, record_context, record_execution
from registry.lineage.sync import SyncReport, _record, flatten
from registry.lineage.trace import trace
from registry.store.snapshot import record_snapshot
from tests.unit.registry.conftest import item

RAW = item("raw", "r0", "raw")


def counts(session) -> dict[str, int]:
    return {
        table.name: session.scalar(select(func.count()).select_from(table)) for table in Base.metadata.sorted_tables
    }


def lifecycle(finished, generation: int = 0):
    corpus, report = item("corpus", f"c{generation}"), item("report", f"e{generation}", "report")
    base = item("model", f"b{generation}", "model", "base")
    accuracy = {
        "name": "accuracy",
        "value": 0.5,
        "stderr": 0.1,
        "n": 10,
        "eval_set": "corpus",
        "higher_is_better": True,
    }
    start = 10.0 * generation
    return [
        finished("curate", [RAW], [corpus], started=start + 1),
        finished("pretrain", [corpus], [base], [{"name": "loss", "value": 1.0}], started=start + 2),
        finished(
            "evaluate@base", [item("model", f"b{generation}", "model"), corpus], [report], [accuracy], started=start + 3
        ),
    ]


def test_recording_again_finds_everything(registry, finished):
    with registry.write() as session:
        new = [record_execution(session, record)[1] for record in lifecycle(finished)]
        first = counts(session)
    with registry.write() as session:
        again = [record_execution(session, record)[1:] for record in lifecycle(finished)]
        assert counts(session) == first
    assert new == [True] * 3
    assert again == [(False, [])] * 3
    assert (first["executions"], first["artifacts"], first["model_versions"], first["metrics"]) == (3, 4, 1, 2)


def test_the_tree_of_a_model(registry, finished):
    with registry.write() as session:
        for record in lifecycle(finished):
            record_execution(session, record)
    with registry.read() as session:
        tree = trace(session, "base")
        listed = models(session)
    pretrain = tree.root.made_by
    ((role, corpus),) = pretrain.inputs
    ((_, raw),) = corpus.made_by.inputs
    assert (pretrain.stage, role, corpus.made_by.stage, raw.digest) == ("pretrain", "corpus", "curate", "r0")
    assert raw.complete and raw.made_by is None
    assert [(metric.name, metric.stage, metric.eval_set) for metric in tree.metrics] == [
        ("loss", "pretrain", None),
        ("accuracy", "evaluate@base", "c0"),
    ]
    assert [(line.model, line.version, line.metric.name, line.digest) for line in listed] == [("base", 1, "loss", "b0")]


def test_shared_ancestors_are_expanded_once(registry, finished):
    corpus = item("corpus", "c")
    with registry.write() as session:
        record_execution(session, finished("curate", [RAW], [corpus], started=1))
        record_execution(session, finished("tokenize", [corpus], [item("tokens", "t")], started=2))
        model = item("model", "m", "model", "base")
        record_execution(session, finished("pretrain", [item("tokens", "t"), corpus], [model], started=3))
    with registry.read() as session:
        tree = trace(session, "base:1")
    (_, tokens), (_, second) = tree.root.made_by.inputs
    assert tokens.made_by.inputs[0][1].made_by.stage == "curate"
    assert second.repeated and second.made_by is None and second.complete
    assert len(tree.artifacts()) == 4


def test_equal_bytes_made_twice_are_traced_to_the_making_before_the_reading(registry, finished):
    with registry.write() as session:
        for started in (1, 5, 9):
            record_execution(session, finished("curate", [RAW], [item("corpus", "c")], started=started))
        model = item("model", "m", "model", "base")
        record_execution(session, finished("pretrain", [item("corpus", "c")], [model], started=6))
    with registry.read() as session:
        assert trace(session, "base").root.made_by.inputs[0][1].made_by.started == 5


def test_a_stage_that_returns_what_it_was_given(registry, finished):
    same = item("model", "m", "model", "assistant")
    with registry.write() as session:
        record_execution(session, finished("pretrain", [RAW], [item("model", "m", "model", "base")], started=1))
        record_execution(session, finished("preference_tune", [item("policy", "m", "model")], [same], started=2))
    with registry.read() as session:
        tree = trace(session, "assistant")
    assert tree.root.made_by.stage == "preference_tune"
    assert [node.digest for _, node in tree.root.made_by.inputs] == ["m"]


def test_an_unknown_maker_is_told(registry, finished):
    with registry.write() as session:
        record_execution(session, finished("pretrain", [item("tokens", "t")], [item("model", "m", "model", "base")]))
    with registry.read() as session:
        assert [node.name for node in trace(session, "base").artifacts() if not node.complete] == ["data/tokens"]


def test_cached_stages_point_to_what_made_the_bytes(registry, finished):
    with registry.write() as session:
        original, _, _ = record_execution(session, lifecycle(finished)[0])
        context = record_context(session, "second")
        for _ in range(2):
            cached, _ = record_cached(session, context, original)
            associate(session, context, cached)
    with registry.read() as session:
        (row,) = session.scalars(select(Execution).filter_by(state="CACHED"))
        assert (row.original_id, row.seconds, row.gpu_seconds) == (original.id, 0, 0)
        assert session.scalars(select(Event).filter_by(execution_id=row.id)).all() == []


def test_the_same_bytes_are_the_same_version(registry, finished):
    with registry.write() as session:
        for generation in (0, 1, 0):
            for record in lifecycle(finished, generation):
                record_execution(session, record)
        assert [(line.version, line.digest) for line in models(session)] == [(2, "b1"), (1, "b0")]


NAMES = st.sampled_from(["rate", "steps", "nested", "list"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
NESTED = st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, min_size=1), max_leaves=6)


@given(st.dictionaries(NAMES, NESTED))
def test_flattened_parameters(parameters):
    def leaves(value) -> int:
        return sum(map(leaves, value.values())) if isinstance(value, dict) and value else 1

    flat = flatten(parameters, "stage.")
    assert len(flat) == (leaves(parameters) if parameters else 0)
    assert all(name.startswith("stage.") and isinstance(value, str) for name, value in flat.items())


@pytest.mark.parametrize("place", ["workspace", "workspace/.stemma/worktrees/second"])
def test_what_another_run_made_in_its_own_tree_is_not_filed_with_this_tree(registry, finished, tmp_path, place):
    """DVC's run cache gave its stages, of which no sync knows: it is under way, or was killed and its tree is gone."""
    of_first = {"run": "first", "git": GitRecord(commit="began")}
    made = [replace(each, receipt=each.receipt.model_copy(update=of_first)) for each in lifecycle(finished)]
    workspace, report = Workspace(tmp_path / place, tmp_path / "workspace/.stemma"), SyncReport()
    with registry.write() as session:
        record_snapshot(session, "first", "began" if place == "workspace" else "later")
        _record(session, workspace, WorkspaceRecord(tuple(made), (), "", ()), report, "second", None, None)
    assert (report.runs, report.executed) == (["second"], ["curate", "pretrain", "evaluate@base"])
