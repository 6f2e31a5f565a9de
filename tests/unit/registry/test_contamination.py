"""The gate and data that models have learnt: what overlaps is refused by name, what nobody knows is called unknown."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rich.console

from cli.screens.family_tree import family_tree
from core import dvc
from core.workspace import Workspace
from flows.pipeline.overlap import comparing
from registry.db.references import resolve
from registry.lineage.receipts import Bytes
from registry.lineage.recording import record_execution
from registry.lineage.trace import trace
from registry.promotion.contamination import ComparedSets, Files, contamination
from registry.promotion.gate import Check, judge
from registry.promotion.parameters import PromotionParameters
from registry.store.manifests import digest_of, md5_of
from tests.tiny_decoder import save
from tests.unit.registry.conftest import item

SIGNED = Check("signatures valid", True, "nothing was signed")
FOUND = {"training": "corpus/train", "evaluation": "corpus/test", "items": 200, "overlapping": 9, "left": 9}


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    (tmp_path / ".dvc").mkdir()
    return Workspace(tmp_path, tmp_path / ".stemma")


def report(workspace: Workspace, summary: dict | None) -> Bytes:
    """The report of a curation, in the workspace."""
    folder = workspace.root / "reports/curate"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    (folder / "report.json").write_text("{}")
    if summary is not None:
        (folder / "contamination.json").write_text(json.dumps(summary))
    return Bytes("report", "reports/curate", "report", "report", "md5", digest_of(folder), 2, 1)


def made(registry, finished, made_report: Bytes, *, corpus: str = "c1", parent: Bytes | None = None) -> None:
    """A base model of a corpus, measured on that corpus's test split."""
    data, model = item("corpus", corpus), item("base", f"m{corpus}", "model", "base")
    metric = {"name": "bits_per_byte", "value": 2.0, "higher_is_better": False, "eval_set": "corpus"}
    with registry.write() as session:
        record_execution(session, finished("curate", [item("raw", f"r{corpus}", "raw")], [data, made_report]))
        read = [data, *([parent] if parent else [])]
        record_execution(session, finished("pretrain", read, [model], started=2))
        measured = [item("model", f"m{corpus}", "model"), data]
        record_execution(session, finished("evaluate@base", measured, [], [metric], started=3))


def judged(
    workspace: Workspace, registry, version: str, tmp_path: Path, most, compare=None, metric="bits_per_byte"
) -> list[Check]:
    save(tmp_path / "files", 1.0)
    rules = {"max_contamination": most, "base": {metric: {"max": 3.0}}}
    parameters = PromotionParameters.model_validate(rules)
    with registry.read() as session:
        candidate = resolve(session, version)
        verdict = judge(
            session, candidate, None, "champion", parameters, tmp_path / "files", {}, SIGNED,
            lambda metric: contamination(workspace, session, candidate.execution_id, metric, compare),
        )  # fmt: skip
        return [check for check in verdict.checks if "unseen" in check.name]


def test_a_promotion_is_refused_with_the_pairs(workspace, registry, finished, tmp_path):
    other = {**FOUND, "evaluation": "labels/test"}  # of another metric
    made(registry, finished, report(workspace, {"format": 1, "pairs": [other, FOUND]}))
    (check,) = judged(workspace, registry, "base:1", tmp_path, 0.02)
    assert not check.passed
    assert check.name == "bits_per_byte on unseen data (at most 2.00% seen)"
    assert check.detail.startswith("9 of 200 items of corpus/test are in corpus/train (4.50%)")
    assert "labels" not in check.detail

    (check,) = judged(workspace, registry, "base:1", tmp_path, 0.045)
    assert check.passed and "4.50%" in check.detail
    assert judged(workspace, registry, "base:1", tmp_path, None) == []


@pytest.mark.slow
@pytest.mark.parametrize(("summary", "why"), [
    (None, "was compared with no evaluation set when it was made"),
    ({"format": 2, "pairs": []}, "newer than this version"),
    ({"format": 1}, None),
    ({"format": 1}, "cannot be read"),
    ({"format": 1, "pairs": [{**FOUND, "left": None}]}, "cannot be read"),
    ({"format": 1, "pairs": "all"}, "cannot be read"),
    ([], "cannot be read"),
])  # fmt: skip
def test_what_was_not_recorded_is_unknown(workspace, registry, finished, tmp_path, summary, why):
    made(registry, finished, report(workspace, summary))
    if why is None:
        (workspace.root / "reports/curate/contamination.json").write_text("changed")
        why = "is not at hand"
    (check,) = judged(workspace, registry, "base:1", tmp_path, 0.0)
    assert check.passed and check.detail.startswith("unknown for evaluation set c1: data/corpus (c1): ")
    assert why in check.detail


def test_imported_weights_are_unknown_in_words(workspace, registry, finished, tmp_path):
    parent = Bytes("parent", "models/parent", "model", "parent", "md5", "p", 2, 1, origin="owner/name@abc")
    made(registry, finished, report(workspace, {"format": 1, "pairs": [FOUND]}), parent=parent)
    (check,) = judged(workspace, registry, "base:1", tmp_path, 0.1)
    assert check.passed and check.detail.endswith("(4.50%); unknown: what owner/name@abc has learnt")


def test_an_earlier_corpus_of_a_parent_is_compared_with_todays_test_split(workspace, registry, finished, tmp_path):
    unseen, folder = {"format": 1, "pairs": [{**FOUND, "left": 0}]}, workspace.root / "data/corpus"
    folder.mkdir(parents=True)
    (folder / "train.parquet").write_text("early")
    early = digest_of(folder)
    made(registry, finished, report(workspace, unseen), corpus=early)
    (folder / "train.parquet").write_text("late")
    parent = item("base", f"m{early}", "model", "base")
    made(registry, finished, report(workspace, unseen), corpus=digest_of(folder), parent=parent)
    seen = []

    def compare(training: str, learnt: Files, evaluation: str, asked: Files) -> list[ComparedSets]:
        seen.append((training, *(path.read_text() for path in (*learnt.values(), *asked.values())), evaluation))
        return [ComparedSets("corpus/train", "corpus/test", 10, 4)]

    (check,) = judged(workspace, registry, "base:2", tmp_path, 0.1)
    assert check.passed and "they were never compared" in check.detail
    (check,) = judged(workspace, registry, "base:2", tmp_path, 0.1, compare)
    assert check.passed and "the files of data/corpus are not at hand" in check.detail and seen == []
    (folder / "train.parquet").write_text("early")
    to_cache(workspace, folder)
    (folder / "train.parquet").write_text("late")
    (check,) = judged(workspace, registry, "base:2", tmp_path, 0.1, compare)
    assert not check.passed and seen == [("corpus", "early", "late", "corpus")]
    assert f"4 of 10 items of corpus/test are in corpus {early[:12]}/train (40.00%)" in check.detail


@pytest.mark.parametrize(("name", "share"), [("lm_eval_sums_acc", "3 of 6"), ("lm_eval_sums_hard_acc", "1 of 4")])
def test_a_task_of_the_harness_is_judged_by_its_own_items(workspace, registry, finished, tmp_path, name, share):
    made(registry, finished, report(workspace, {"format": 1, "pairs": [FOUND]}))
    pairs = [{"training": "corpus/train", "evaluation": "lm_eval/sums", "items": 6, "left": 3},
             {"training": "corpus/train", "evaluation": "lm_eval/sums_hard", "items": 4, "left": 1}]  # fmt: skip
    metric = {"name": name, "value": 0.9, "higher_is_better": True}
    with registry.write() as session:
        read = [item("model", "mc1", "model"), item("corpus", "c1")]
        stage = finished("evaluate@base", read, [report(workspace, {"format": 1, "pairs": pairs})], [metric], started=4)
        record_execution(session, stage)
    (check,) = judged(workspace, registry, "base:1", tmp_path, 0.1, metric=name)
    assert not check.passed and check.detail.startswith(f"{share} items of lm_eval/sums")


def test_the_trace_shows_the_mixture(registry, finished):
    drawn = {"mixture": "by source: web 10 tokens (0.50 epochs)"}
    with registry.write() as session:
        record_execution(session, finished("curate", [item("raw", "r", "raw")], [item("corpus", "c")]))
        tokens, model = item("tokens", "t"), item("base", "m", "model", "base")
        record_execution(session, finished("tokenize", [item("corpus", "c")], [tokens], started=2, environment=drawn))
        record_execution(session, finished("pretrain", [tokens], [model], started=3))
    shown = io.StringIO()
    with registry.read() as session:
        rich.console.Console(file=shown, width=200).print(family_tree(trace(session, "base:1")))
    assert "mixture by source: web 10 tokens (0.50 epochs)" in shown.getvalue()


def to_cache(workspace: Workspace, folder: Path) -> None:
    """The folder as DVC keeps it."""
    listed = {path.name: md5_of(path) for path in folder.iterdir()}
    entries = [{"md5": md5, "relpath": name} for name, md5 in sorted(listed.items())]
    cache = dvc.cache_folder(workspace.root)
    objects = {md5: (folder / name).read_bytes() for name, md5 in listed.items()}
    for md5, content in {**objects, digest_of(folder): json.dumps(entries).encode()}.items():
        path = dvc.object_path(cache, md5)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_the_flows_compare_the_texts_of_both(tmp_path):
    """Bytes as DVC's cache names them: no file has its name there."""
    (tmp_path / "params.yaml").write_text("curate: {decontamination: {rules: {ngram_words: 5}}}\n")
    folders = {}
    for name, texts in (("early", ["a b c d e f", "g h i"]), ("late", ["x b c d e f y", "other text"])):
        folders[name] = tmp_path / name
        pq.write_table(pa.table({"text": texts}), folders[name])
    compare = comparing(Workspace(tmp_path, tmp_path / ".stemma"))
    found = compare("corpus", {"train-0.parquet": folders["early"]}, "corpus", {"test-0.parquet": folders["late"]})
    assert found == [ComparedSets("corpus/train", "corpus/test", 2, 1)]
