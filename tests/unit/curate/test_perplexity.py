"""Buckets by perplexity in the curate stage: what goes, what stays with its value, and what the report says."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli.main import app
from components.curate import component, judging
from components.curate.filters import perplexity
from components.curate.ledger import Ledger
from components.curate.parameters import CurateParameters
from components.pages import curate as page
from components.perplexity.model import PerplexityModel
from components.perplexity.parameters import PerplexityParameters
from components.perplexity.training import train
from core.errors import InputProblem
from tests.unit.curate.workspace import curate
from tests.unit.text_classifier.examples import texts

NAME = "data/raw/perplexity/good.safetensors"
SOURCE = {"type": "files", "paths": ["data/raw/texts.jsonl"]}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "good.safetensors"
    train(texts("good", 400), texts("bad", 100), 1337).save(path, {"name": "good"})
    return path.read_bytes()


@pytest.fixture
def workspace(tmp_path, content):
    (tmp_path / NAME).parent.mkdir(parents=True)
    (tmp_path / NAME).write_bytes(content)
    rows = [*texts("good", 40, seed=5), *texts("bad", 40, seed=5), "no"]
    (tmp_path / "data/raw/texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    return tmp_path


def corpus(context):
    tables = [pq.read_table(path) for path in sorted(context.outputs["corpus"].glob("*.parquet"))]
    return {row["text"]: row for table in tables for row in table.to_pylist()}


def test_the_buckets_that_are_not_kept_go_and_the_others_have_their_value(workspace, monkeypatch):
    context = curate(workspace, [SOURCE], monkeypatch, quality={"perplexity": {"model": NAME}})
    model, kept = PerplexityModel.read(workspace / NAME, NAME), corpus(context)
    asked = [*texts("good", 40, seed=5), *texts("bad", 40, seed=5)]
    bits = dict(zip(asked, model.bits_per_byte(asked), strict=True))
    buckets = [model.bucket(value) for value in bits.values()]
    assert set(kept) == {text for text, value in bits.items() if model.bucket(value) != "tail"} != set(asked)
    for text, row in kept.items():
        assert row["bits_per_byte"] == pytest.approx(bits[text], abs=1e-6)
    report = json.loads((context.outputs["report"] / "report.json").read_text())
    found = report["perplexity"]
    assert found["models"] == [
        {"language": None, "file": NAME, "digest": model.digest, "cutoffs": list(model.cutoffs)}
    ] and not found["unjudged"]  # fmt: skip
    assert found["buckets"] == {name: buckets.count(name) for name in ("head", "middle", "tail")}
    assert sum(found["histogram"]) == 80 and found["dropped"] == buckets.count("tail")
    rules = {rule["rule"]: rule for rule in report["rules"]}
    assert rules["perplexity"]["dropped"] == buckets.count("tail")
    assert rules["perplexity"]["examples"][0]["reason"].startswith("tail: ")
    assert "head under" in (shown := page.render(context.outputs["report"]).html()) and "bits per byte" in shown


def test_a_language_has_its_own_model_and_one_without_is_not_judged(workspace, content):
    model = PerplexityModel.read(workspace / NAME, NAME)
    german = "data/raw/perplexity/de.safetensors"
    replace(model, cutoffs=(100.0, 200.0)).save(workspace / german)
    asked = texts("bad", 6, seed=5)
    languages, bits = ["de", "fr", "en", "de", "fr", "en"], model.bits_per_byte(asked)
    for parameters, judged in (
        (PerplexityParameters(languages={"de": german, "en": NAME}, keep=["head"]), {"de", "en"}),
        (PerplexityParameters(model=NAME, languages={"de": german}, keep=["head"]), {"de", "en", "fr"}),
    ):
        buckets = perplexity.load(parameters, workspace)
        findings, ledger = [None] * 6, Ledger(3)
        found = perplexity.judge(asked, findings, buckets, ledger, languages)
        assert found == [each if language in judged else None
                         for each, language in zip(bits, languages, strict=True)]  # fmt: skip
        assert [finding is None for finding in findings] == [
            language == "de" or language not in judged or model.bucket(each) == "head"
            for each, language in zip(bits, languages, strict=True)
        ]
        report = perplexity.report(buckets, ledger.scores, Counter())
        assert report["unjudged"] == sum(language not in judged for language in languages)
        assert len(set(buckets.digests)) == 2 and report["models"][-1]["cutoffs"] != report["models"][0]["cutoffs"]


def test_a_model_that_is_none_is_refused_before_anything_runs(workspace):
    (workspace / NAME).write_bytes(b"\x80\x04pickle")
    asked = [{"name": "gone", "model": "data/raw/gone.safetensors"}]
    parameters = CurateParameters.model_validate(
        {"sources": [SOURCE], "quality": {"perplexity": {"model": NAME}}, "classifiers": asked,
         "labels": {"source": "none"}, "instructions": {"source": "none"}}
    )  # fmt: skip
    assert [line.partition(" (")[0] for line in component.check(parameters, workspace, {})] == [
        "curate.classifiers: data/raw/gone.safetensors: cannot be read",
        f"curate.quality.perplexity: {NAME}: is no model that `stemma data train-perplexity` has written",
    ]


def test_a_worker_with_another_file_stops(workspace):
    parameters = CurateParameters.model_validate({"quality": {"perplexity": {"model": NAME}}})
    orders = judging.Orders(parameters, 1, workspace, workspace, workspace, "", models=("0" * 64,))
    with pytest.raises(InputProblem, match=r"good.safetensors: is another file on"):
        judging._models(orders)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": {"perplexity": {"model": "models/good.safetensors"}}},
        {"quality": {"perplexity": {"model": NAME, "keep": []}}},
        {"quality": {"perplexity": {"keep": ["head"]}}},
        {"quality": {"perplexity": {"languages": {"de": NAME}}}},
        {"language": {"keep": None}, "quality": {"perplexity": {"languages": {"xx": NAME}}}},
        {"quality": {"perplexity": {"model": NAME, "keep": ["best"]}}},
        {"classifiers": [{"name": "bits_per_byte", "model": NAME}]},
    ],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match=r"perplexity|classifiers"):
        CurateParameters.model_validate(wrong)


def test_the_command_writes_the_model_and_names_every_problem(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("seed: 7\n")
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/good.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in texts("good", 320))
    )
    monkeypatch.chdir(tmp_path)
    command = ["data", "train-perplexity", "--text", "data/raw/good.jsonl"]
    result = CliRunner().invoke(app, [*command, "--name", "good"])
    assert result.exit_code == 0, result.output
    assert f"{NAME}: trained on 272 texts" in result.output and "thirds of these texts: head under" in result.output
    manifest = PerplexityModel.read(tmp_path / NAME, NAME).manifest
    assert list(manifest["files"]["text"]) == ["data/raw/good.jsonl"] and manifest["parameters"]["seed"] == 7
    result = CliRunner().invoke(app, [*command, "--name", "Not a name", "--reference", "bad.jsonl"])
    assert [line.partition(": ")[0] for line in result.exception.problems] == ["--name Not a name", "--reference"]
