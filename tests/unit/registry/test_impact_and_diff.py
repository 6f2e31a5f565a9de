"""Impact, diff and cost agree with the trace: the execution that was really meant, and each execution once."""

from __future__ import annotations

import itertools
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import Session

from core.dvc_lock import EMPTY_FOLDER
from core.errors import InputProblem, WorkspaceError
from core.workspace import Workspace
from registry.db.references import find_artifacts, resolve
from registry.db.schema import Artifact, Base, ModelVersion
from registry.errors import MissingBytes, UnknownReference
from registry.lineage import judgings
from registry.lineage.cost import CostParameters, cost
from registry.lineage.diff import diff
from registry.lineage.family_tree import write_figure
from registry.lineage.impact import impact
from registry.lineage.recording import associate, record_cached, record_context, record_execution
from registry.lineage.trace import trace
from registry.lineage.traversal import downstream, maker, upstream
from registry.store.manifests import digest_of, md5_of
from tests.unit.registry.conftest import item

RAW = item("raw", "aaaa01", "raw")


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "dvc.yaml").write_text("stages: {}\n")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return Workspace(root, root / ".stemma")


def accuracy(value: float, stderr: float) -> dict:
    return {"name": "accuracy", "value": value, "stderr": stderr, "eval_set": "corpus", "higher_is_better": True}


def test_what_descends_is_what_traces_back(registry, finished, workspace):
    """Two raw versions curate to the same corpus; the model was trained between, on the first one's making."""
    corpus, other = item("corpus", "cccc01"), item("raw", "aaaa02", "raw")
    with registry.write() as session:
        record_execution(session, finished("curate", [RAW], [corpus], started=1))
        record_execution(session, finished("pretrain", [corpus], [item("model", "eeee01", "model", "base")], started=2))
        record_execution(session, finished("curate", [other], [corpus], started=3))
        record_execution(session, finished("pretrain", [corpus], [item("model", "eeee02", "model", "base")], started=4))
    with registry.read() as session:
        assert list(map(str, impact(session, workspace, "aaaa01").versions)) == ["base:1"]
        assert list(map(str, impact(session, workspace, "aaaa02").versions)) == ["base:2"]
        for version, raw in (("base:1", "aaaa01"), ("base:2", "aaaa02")):
            assert trace(session, version).artifacts()[-1].digest == raw
        assert list(map(str, impact(session, workspace, "base:1").versions)) == ["base:1"]


def test_models_of_no_file_or_of_unknown_files_hide_no_others(registry, finished, workspace):
    """DVC keeps no list of an empty folder that a stage read; one that was lost is an error, or is said beside."""
    folder = workspace.root / "data" / "raw"
    folder.mkdir(parents=True)
    (workspace.root / ".dvc").mkdir()
    (folder / "a.txt").write_text("a")
    content, lost = md5_of(folder / "a.txt"), f"{'f' * 32}.dir"

    def train(start, raw):
        made = item("model", f"eeee0{start}", "model", "base")
        with registry.write() as session:
            record_execution(session, finished("pretrain", [item("raw", raw, "raw")], [made], started=start))

    train(1, EMPTY_FOLDER)
    train(2, digest_of(folder))
    with registry.read() as session:
        assert list(map(str, impact(session, workspace, content).versions)) == ["base:2"]
    train(3, lost)
    said = []
    with registry.read() as session:
        with pytest.raises(MissingBytes, match="ffffffffffff"):
            impact(session, workspace, content)
        assert list(map(str, impact(session, workspace, content, said.append).versions)) == ["base:2"]
    assert len(said) == 1 and "ffffffffffff" in said[0]


def test_walks_read_indexes_only(registry, finished):
    with registry.write() as session:
        made = [RAW, *(item(f"part{number}", f"cccc{number}", registered="base") for number in range(40))]
        for read, written in itertools.pairwise(made):
            record_execution(session, finished("curate", [read], [written]))
    statements = []
    with registry.read() as session:
        event.listen(registry.engine, "before_cursor_execute", lambda *call: statements.append(call[2:4]))
        downstream(session, [1])
        upstream(session, 1)
        walked = len(statements)
        trace(session, "base:40")
        cursor = session.connection().connection.driver_connection
        plans = [
            [row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            for statement, values in statements
        ]
    walks = [line for plan in plans[:walked] for line in plan]
    assert sum("USING COVERING INDEX ix_events" in line for line in walks) == 5
    assert not [line for line in walks if line.startswith(("SCAN events", "SCAN executions", "SCAN artifacts"))]
    # The runs of a tree are found by its executions, not among all runs.
    asked = [line for plan in plans for line in plan if line.startswith(("SEARCH contexts", "SEARCH associations"))]
    assert len(asked) == 4 and not [line for line in asked if "(type=?" in line or "(context_id=?" in line]


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(1, 9)), unique_by=lambda making: making[1]), st.floats(0, 9))
def test_the_maker_is_the_last_before_the_reading(makings, read):
    chosen = maker(makings, (read, 10))
    earlier = [making for making in makings if making[0] <= read]
    assert chosen == (max(earlier or [min(makings)])[1] if makings else None)


def test_cost_counts_each_execution_once(registry, finished):
    corpus, labels = item("corpus", "cccc01"), item("labels", "dddd01")
    with registry.write() as session:
        curate, _, _ = record_execution(
            session, finished("curate", [RAW], [corpus, labels], started=1, seconds=3600.0, device="cpu", tokens=10)
        )
        record_execution(
            session,
            finished("pretrain", [corpus, labels], [item("model", "eeee01", "model", "base")], started=2,
                     seconds=1800.0, device="NVIDIA H100", processes=4, tokens=90),
        )  # fmt: skip
        context = record_context(session, "later")
        associate(session, context, record_cached(session, context, curate)[0])
    prices = CostParameters(price_per_device_hour={"cpu": 0.5, "nvidia h100": 2.0, "gpu": 1.0})
    with registry.read() as session:
        found = cost(session, "base", prices)
        assert [(line.stage, line.devices, line.money) for line in found.executions] == [
            ("pretrain", 4, 4.0), ("curate", 1, 0.5),
        ]  # fmt: skip
        assert (found.money, found.tokens, found.device_seconds, found.unpriced) == (4.5, 100, 10800.0, [])
        partly = cost(session, "base", CostParameters(price_per_device_hour={"cpu": 0.5}))
        assert (partly.money, partly.unpriced) == (0.5, ["NVIDIA H100"])
        assert trace(session, "base").executions()[1].reused_by == ["later"]


def test_cost_counts_what_judges_were_asked(registry, finished):
    model = item("model", "eeee01", "model", "base")
    score = {"name": "judge_score", "value": 7, "higher_is_better": True}
    asked = {"judge_model": "j", "judge_endpoint": "https://h/v1", "judge_prompt_tokens": "2000000"}
    with registry.write() as session:
        record_execution(session, finished("curate", [RAW], [item("corpus", "cccc01")], started=1, device="cpu"))
        record_execution(session, finished("pretrain", [item("corpus", "cccc01")], [model], started=2, device="cpu"))
        for number, completion in enumerate(("500000", "0")):  # the second took every verdict from the cache
            environment = {**asked, "judge_completion_tokens": completion}
            if number:
                environment["judge_prompt_tokens"] = "0"
            read, made = [item("model", "eeee01", "model")], [item("report", f"f{number}", "report")]
            metrics = [score, {**score, "name": "other"}]
            more = {"started": 3 + number, "environment": environment}
            record_execution(session, finished("evaluate@base", read, made, metrics, **more))
    with registry.read() as session:
        priced = CostParameters(
            price_per_device_hour={"cpu": 0.0}, price_per_million_tokens={"j": {"prompt": 1.5, "completion": 4}}
        )
        found = cost(session, "base", priced)
        assert [(line.stage, line.prompt_tokens, line.money) for line in found.judging] == [
            ("evaluate@base", 2_000_000, 5.0), ("evaluate@base", 0, 0.0),
        ]  # fmt: skip
        assert (found.money, found.unpriced) == (5.0, [])
        [model] = session.scalars(select(ModelVersion.artifact_id))
        corpus = session.scalar(select(Artifact.id).filter_by(digest="cccc01"))
    judgings.record(registry, "compare", "j", "http://judge/v1", 1_000_000, 0, [model, model])
    judgings.record(registry, "arena", "j", "http://judge/v1", 0, 0, [model])  # all of it was kept already
    judgings.record(registry, "compare", "j", "http://judge/v1", 7, 0, [corpus])  # of something else
    with registry.read() as session:
        found = cost(session, "base", priced)
        assert (found.judging[-1].stage, found.judging[-1].prompt_tokens, found.money) == ("compare", 1_000_000, 6.5)
        assert len(found.judging) == 3
        assert cost(session, "base", CostParameters(price_per_device_hour={"cpu": 0.0})).unpriced == ["j"]


def test_every_problem_of_the_prices_is_told(tmp_path):
    (tmp_path / "params.yaml").write_text("cost: {currency: '', price_per_device_hour: {cpu: -1, gpu: x}, tax: 1}\n")
    with pytest.raises(InputProblem) as told:
        CostParameters.load(tmp_path)
    for path in ("cost.currency", "cost.price_per_device_hour.cpu", "cost.price_per_device_hour.gpu", "cost.tax"):
        assert f"{path}: " in str(told.value)


def test_differences(registry, finished, workspace):
    with registry.write() as session:
        for number, (steps, value) in enumerate(((100, 0.5), (200, 0.51), (200, 0.9)), start=1):
            corpus, model = item("corpus", "cccc01"), item("model", f"eeee0{number}", "model", "base")
            record_execution(session, finished(
                "pretrain", [corpus], [model], [accuracy(value, 0.02)], started=float(number),
                parameters={"schedule": {"steps": steps}, "rate": 0.1}, seed=number, device="cpu",
                environment={"packages": {"torch": f"2.{number}"}, "python": "3.11"},
            ))  # fmt: skip
    with registry.read() as session:
        found = diff(session, workspace, "base:1", "base:2")
        assert [(line.where, line.a, line.b) for line in found.parameters] == [
            ("pretrain.schedule.steps", 100, 200), ("pretrain.seed", 1, 2),
        ]  # fmt: skip
        assert [(line.where, line.a, line.b) for line in found.environment] == [
            ("packages.torch (pretrain)", "2.1", "2.2")
        ]
        assert (found.data, found.code, found.code_stat) == ([], [], None)
        (metric,) = found.metrics
        assert (metric.beyond_noise, metric.better, metric.same_eval_set) == (False, True, True)
        (metric,) = diff(session, workspace, "base:3", "base:2").metrics
        assert (metric.beyond_noise, metric.better) == (True, False)
        same = diff(session, workspace, "base:2", "base:2")
        assert (same.data, same.parameters, same.environment, same.metrics[0].difference) == ([], [], [], 0.0)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.text("0123456789abcdef", min_size=32, max_size=32), min_size=1, max_size=6), st.integers(6, 32))
def test_digest_prefixes(digests, length):
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for digest in digests:
            session.add(Artifact(type="dataset", name="x", hash_algo="md5", digest=f"{digest}.dir", created=1.0))
        session.flush()
        for digest in digests:
            same = [other for other in digests if other.startswith(digest[:length])]
            if len(same) > 1:
                with pytest.raises(UnknownReference, match="write more of it"):
                    find_artifacts(session, digest[:length])
            else:
                assert [row.digest for row in find_artifacts(session, digest[:length])] == [f"{digest}.dir"]


def test_a_version_by_its_digest(registry, finished):
    with registry.write() as session:
        record_execution(session, finished("pretrain", [RAW], [item("model", "eeee01ff", "model", "base")], started=1))
        record_execution(session, finished("other", [RAW], [item("model", "eeee01aa", "model", "other")], started=2))
    with registry.read() as session:
        assert str(resolve(session, "eeee01f")) == "base:1"
        for text, why in (
            ("eeee01", "write more of it"),
            ("aaaa01", "not the digest of a model"),
            ("abcdef", "start of a recorded"),
        ):
            with pytest.raises(UnknownReference, match=why):
                resolve(session, text)


def test_the_figure(registry, finished, tmp_path):
    corpus = item("corpus", "cccc01")
    with registry.write() as session:
        record_execution(session, finished("curate", [RAW], [corpus], started=1))
        record_execution(session, finished("tokenize", [corpus], [item("tokens", "dddd01")], started=2))
        model = item("model", "eeee01", "model", "base")
        record_execution(
            session, finished("pretrain", [item("tokens", "dddd01"), corpus], [model], [accuracy(0.5, 0.01)], started=3)
        )
    with registry.read() as session:
        traced = trace(session, "base")
    write_figure(traced, tmp_path / "tree.svg")
    drawn = (tmp_path / "tree.svg").read_text()
    for text in ("base:1", "data/corpus", "pretrain 1.0.0", "eeee01", "accuracy 0.5 ± 0.01", "aaaa01"):
        assert text in drawn
    write_figure(traced, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == drawn
    write_figure(traced, tmp_path / "tree.png")
    assert (tmp_path / "tree.png").read_bytes().startswith(b"\x89PNG")
    for name in ("tree.pdf", "missing/tree.svg"):
        with pytest.raises(WorkspaceError):
            write_figure(traced, tmp_path / name)
    assert sorted(path.name for path in tmp_path.glob("*tree*")) == ["tree.png", "tree.svg"]
