"""The verbs that ask, through the command line: answers, and one clear sentence for what cannot be answered."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cli.errors import explain
from cli.main import app
from registry.lineage.sync import sync


@pytest.fixture
def stemma(grown):
    """Runs a verb in this process: (exit code, standard output, message of the error)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, list(arguments))
        if done.exception is None or isinstance(done.exception, SystemExit):
            return done.exit_code, done.stdout, ""
        explained = explain(done.exception)
        assert explained is not None, f"{done.exception!r} would be a traceback"
        return explained[0], done.stdout, "\n".join(explained[1])

    return run


def test_diff_names_files_code_and_metrics(grown, stemma):
    _, printed, _ = stemma("diff", "base:1", "base:2")
    assert "curate.raw" in printed and "added b.txt" in printed
    found = json.loads(stemma("diff", "base:2", "base:3", "--json")[1])
    raw = next(line for line in found["data"] if line["where"] == "curate.raw")
    assert (raw["added"], raw["removed"], raw["changed"]) == ([], [], ["a.txt"])
    assert found["parameters"] == [] and {line["name"] for line in found["metrics"]} >= {"evaluate@base.accuracy"}


def test_diff_shows_what_changed_in_the_code(grown, stemma):
    stages = grown.root / "stages.py"
    stages.write_text(stages.read_text().replace("text * parameters", "text + text * parameters"))
    grown.dvc("repro", "-q", TEST_RUN="fourth")
    sync(grown.workspace, run="fourth", update_mlflow=False)
    found = json.loads(stemma("diff", "base:3", "base:4", "--json")[1])
    assert "stages.py" in found["code_stat"] and "dvc.lock" not in found["code_stat"]
    assert {line["where"] for line in found["code"]} >= {"curate", "pretrain"}


def test_trace_cost_and_export(grown, stemma, tmp_path):
    code, printed, _ = stemma("trace", "base:2", "--figure", str(tmp_path / "tree.svg"))
    assert code == 0 and (tmp_path / "tree.svg").exists()
    digest = json.loads(stemma("trace", "base:2", "--json")[1])["root"]["digest"]
    assert json.loads(stemma("trace", digest[:12], "--json")[1])["version"] == 2
    cost = json.loads(stemma("cost", "base", "--json")[1])
    assert [line["stage"] for line in cost["executions"]] == ["pretrain", "curate"]
    assert cost["tokens"] == 200 and cost["unpriced"] == ["cpu"], "this workspace names no prices"
    assert "together" in stemma("cost", "base")[1]
    code, printed, _ = stemma("lineage", "export", "--openlineage", str(tmp_path / "events.jsonl"))
    assert code == 0 and printed.startswith("24 events")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("trace", "nobody"), "there is no model 'nobody'; known: base"),
        (("cost", "base:9"), "base has no version 9; known: 1, 2, 3"),
        (("diff", "base@gold", "base"), "base has no alias 'gold'"),
        (("trace", "base:1:2"), "write MODEL, MODEL:VERSION or MODEL@ALIAS"),
        (("trace", "abcdef"), "is not the start of a recorded digest"),
        (("impact", "data/raw/none.txt"), "in none of the 3 recorded versions"),
        (("trace", "base", "--figure", "tree.pdf"), ".svg or .png"),
        (("lineage", "export", "--openlineage", "missing/file"), "cannot be written"),
    ],
)
def test_what_cannot_be_answered(grown, stemma, arguments, told):
    database = grown.workspace.home / "registry.db"
    before = database.read_bytes()
    code, _, message = stemma(*arguments)
    lines = [line for line in message.splitlines() if line != "1 problem; nothing was changed:"]
    assert code in (1, 2) and len(lines) == 1 and told in lines[0]
    assert database.read_bytes() == before


def test_a_damaged_database(grown):
    database = grown.workspace.home / "registry.db"
    for beside in database.parent.glob("registry.db-*"):
        beside.unlink()
    database.write_bytes(b"no database" * 1000)
    done = grown.stemma("trace", "base")
    assert done.returncode == 1 and "cannot be used" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert database.read_bytes() == b"no database" * 1000
