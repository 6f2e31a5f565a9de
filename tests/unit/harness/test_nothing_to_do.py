"""A stage without anything to work on: empty outputs, a receipt and a report that say why, and nobody fails."""

import json

import pyarrow.parquet as pq
import pytest

import components
from components.curate.documents import SCHEMA
from components.harness.job import make_job
from components.harness.scratch import staging_of
from components.harness.supervise import run_stage
from core.files import write_text
from tests.workspace import make_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    made = make_workspace(tmp_path_factory.mktemp("skipped") / "workspace")
    write_text(made.root / "data/labels/labels.json", "[]\n")
    write_text(made.root / "models/base/config.json", "{}")
    (made.root / "models/instruct").mkdir()
    for split in ("instruct", "reward", "preference", "development", "test"):
        write_text(made.root / f"data/instructions/{split}.jsonl", "")
    (made.root / "data/corpus").mkdir()
    pq.write_table(SCHEMA.empty_table(), made.root / "data/corpus/test-00000-of-00001.parquet")
    return made


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        ("classify_finetune", "no labels"),
        ("instruct_finetune", "no instructions"),
        ("evaluate@base", "no held-out documents and no test instructions"),
        ("reward_model", "no models/instruct"),
        ("evaluate@instruct", "no models/instruct"),
    ],
)
def test_why_a_stage_has_nothing_to_do(workspace, stage, reason):
    assert make_job(stage, workspace.root).skipped == reason


def test_a_model_that_writes_no_text_is_not_evaluated(tmp_path):
    write_text(tmp_path / "instructions/test.jsonl", '{"prompt": "a"}\n')
    inputs = {"instructions": tmp_path / "instructions", "corpus": tmp_path, "model": tmp_path / "base"}
    reason = components.load("evaluate").nothing_to_do
    for config, said in (
        (
            {"model_type": "bert", "architectures": ["BertModel"]},
            "a model of type bert is an encoder, which writes no text; evaluate needs",
        ),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, None),
        ({"model_type": "unheard-of"}, None),
    ):
        write_text(tmp_path / "base/config.json", json.dumps(config))
        found = reason(components.load("evaluate").parameters(), inputs)
        assert found is None if said is None else found.startswith(said)


def test_a_stage_with_rows_is_not_skipped(workspace, tmp_path):
    rows = tmp_path / "instructions"
    for name in ("instruct", "reward", "preference"):
        write_text(rows / f"{name}.jsonl", '{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    for stage in ("instruct_finetune", "reward_model", "preference_tune"):
        component = components.load(stage)
        assert component.nothing_to_do(component.parameters(), {"instructions": rows, "instruct": tmp_path}) is None


def test_a_reward_needs_an_order_of_answers(tmp_path):
    reason, parameters = components.load("reward_model").nothing_to_do, components.load("reward_model").parameters()
    plain, pair = '{"prompt": "a", "completion": "b"}\n', '{"prompt": "a", "chosen": "b", "rejected": "c"}\n'
    judged = '{"prompt": "a", "reference": "b", "verifier": "closed_answer"}\n'
    for rows, skipped in ((plain, True), (plain + pair, False), (plain + judged, False), ("no json\n", False)):
        write_text(tmp_path / "reward.jsonl", rows)
        assert (reason(parameters, {"instructions": tmp_path, "instruct": tmp_path}) is not None) == skipped


def test_a_reward_model_of_an_encoder_needs_pairs(tmp_path):
    component = components.load("reward_model")
    inputs = {"instructions": tmp_path, "base": tmp_path}
    write_text(tmp_path / "config.json", '{"model_type": "bert", "architectures": ["BertModel"]}')
    write_text(tmp_path / "reward.jsonl", '{"prompt": "a", "reference": "b", "verifier": "closed_answer"}\n')
    reason = component.nothing_to_do(component.parameters(init="base"), inputs)
    assert reason == "no pairs of answers, and only a decoder draws some to rank"
    assert component.nothing_to_do(component.parameters(), inputs) == "no models/instruct"


def test_a_skipped_stage_leaves_empty_outputs_and_says_why(workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert run_stage("classify_finetune") == 0
    assert "classify_finetune: skipped: no labels" in capsys.readouterr().err
    model = workspace.root / "models/classifier"
    assert model.is_dir() and not any(model.iterdir()) and not staging_of(model).exists()
    assert json.loads((workspace.root / "metrics/classify_finetune.json").read_text()) == {}
    receipt = json.loads((workspace.root / "receipts/classify_finetune.json").read_text())
    assert receipt["skipped"] == "no labels" and receipt["metrics"] == [] and receipt["signature"]
    assert "no labels" in (workspace.root / "reports/classify_finetune.html").read_text()


def test_no_version_is_registered_of_what_was_skipped():
    from sqlalchemy import create_engine, select
    from sqlalchemy.orm import Session

    from registry.db.schema import Artifact, Base, Event, ModelVersion
    from registry.lineage.receipts import Bytes, Receipt, StageRecord
    from registry.lineage.recording import record_execution

    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    component = {"name": "c", "version": "1.0.0", "code_digest": "d"}
    receipt = Receipt.model_validate(
        {"schema": 1, "stage": "s", "component": component, "fingerprint": "f", "started": 1.0, "skipped": "no labels"}
    )
    empty = Bytes("model", "models/s", "model", "s", "md5", "0" * 32 + ".dir", 0, 0, registered_model="s")
    with Session(engine) as session:
        assert record_execution(session, StageRecord("s", receipt, (), (empty,)))[2] == []
        assert not session.scalars(select(ModelVersion)).all() and not session.scalars(select(Event)).all()
        assert not session.scalars(select(Artifact)).all()
