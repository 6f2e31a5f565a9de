"""``stemma compare`` and the gate's pairing, on a real registry with the reports' files at hand."""

from __future__ import annotations

import json
import subprocess

import pytest
from typer.testing import CliRunner

from cli.main import app
from components.evaluate.items import FILE, Item, write
from core import layout
from core.errors import InputProblem
from core.workspace import Workspace
from flows.pipeline.pairing import pairing
from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.errors import UnknownReference
from registry.lineage.recording import associate, record_context, record_execution
from registry.promotion.measurements import measurements
from registry.store.manifests import digest_of
from tests.unit.registry.conftest import finished, item  # noqa: F401  (a fixture)


def answers(scores: list[float], said: str) -> list[Item]:
    return [
        Item("instructions", f"i{n}", "accuracy", score, f"{said} {n}", f"right {n}", f"question {n}", f"g{n}")
        for n, score in enumerate(scores)
    ]


@pytest.fixture
def workspace(tmp_path, finished, monkeypatch):  # noqa: F811
    """Two versions of one model, measured alike on forty items; the second's evaluation belongs to the run ``r``."""
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    place = Workspace.find()
    layout.models(place.home).mkdir(parents=True)
    scores = {1: [0] * 20 + [1] * 20, 2: [1] * 12 + [0] * 8 + [1] * 20}
    with open_registry(place.registry_url) as registry, registry.write() as session:
        corpus = item("instructions", "c0")
        record_execution(session, finished("curate", [item("raw", "aa01", "raw")], [corpus], started=0))
        for version, of in scores.items():
            folder = tmp_path / f"made-{version}"
            folder.mkdir()
            write(folder, answers(of, f"version {version} says"))
            digest = digest_of(folder)
            folder.rename(layout.models(place.home) / digest)
            model = item("model", f"bb0{version}", "model", "assistant")
            record_execution(session, finished("pretrain", [corpus], [model], started=version))
            metric = {"name": "accuracy", "value": sum(of) / 40, "stderr": 0.07, "higher_is_better": True,
                      "eval_set": "instructions"}  # fmt: skip
            read, made = [item("model", f"bb0{version}", "model"), corpus], [item("report", digest, "report")]
            execution, _, _ = record_execution(
                session, finished("evaluate@assistant", read, made, [metric], started=version)
            )
            if version == 2:
                associate(session, record_context(session, "r"), execution)
    return place


def run(*arguments):
    return CliRunner().invoke(app, ["compare", *arguments])


def test_two_versions_are_compared_item_by_item(workspace):
    done = run("assistant:1", "assistant", "--items", "1")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    row = next(line for line in lines if line.startswith("accuracy "))
    assert "0.5" in row and "0.8" in row and "+0.3 ± 0.073" in row and "12 : 28 : 0" in row
    assert "B is better than A (p < 0.001, McNemar's exact test)" in row
    assert "accuracy: 12 of 40 items differ" in lines and "  question   question 0" in lines
    assert "  A        0  version 1 says 0" in lines and "  B        1  version 2 says 0" in lines
    assert sum("question " in line for line in lines) == 1


def test_json_has_every_flip_and_a_run_or_a_folder_is_named_as_well(workspace, tmp_path):
    folder = tmp_path / "reports/evaluate-assistant"
    folder.mkdir(parents=True)
    write(folder, answers([1] * 40, "mine"))
    done = run("r/evaluate@assistant", "reports/evaluate-assistant", "--json")
    (metric,) = json.loads(done.output)["metrics"]
    assert metric["n"] == 40 and metric["difference"] == pytest.approx(0.2) and metric["wins"] == 8
    assert len(metric["flips"]) == 8 and metric["flips"][0]["a"] == {"score": 0, "answer": "version 2 says 12"}
    assert metric["significant"] and metric["win_rate"] == 0.6


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ("assistant:1", "assistant:2", "--metric", "bleu"),
            InputProblem,
            "bleu: not a metric of items that both have",
        ),
        (("assistant:1", "nobody"), UnknownReference, "nobody"),
        (("assistant:1", "r/evaluate@base"), UnknownReference, "r has no report of evaluate@base"),
        (("assistant:1", "x/evaluate@base"), UnknownReference, "no run 'x'"),
    ],
)
def test_what_cannot_be_compared_is_said(workspace, arguments, error, message):
    done = run(*arguments)
    assert isinstance(done.exception, error) and message in str(done.exception)


def test_the_gate_pairs_the_items_of_two_measurements(workspace):
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        old, new = (measurements(session, resolve(session, f"assistant:{n}"), "accuracy")[-1] for n in (1, 2))
        found = pairing(workspace)(new, old)
        assert (found.gain, found.n) == (pytest.approx(0.3), 40) and found.stderr == pytest.approx(0.0734, abs=1e-3)
        assert pairing(workspace)(old, new).gain == pytest.approx(-0.3)
        for path in layout.models(workspace.home).glob(f"*/{FILE}"):
            path.write_text("damaged\n")
        assert pairing(workspace)(new, old) is None
