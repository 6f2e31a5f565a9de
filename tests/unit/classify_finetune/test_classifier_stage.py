"""The stage on a real, tiny model: what learns, what is saved, resume, repeatability."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from components import pages
from components.classify_finetune import component
from components.classify_finetune.classifier import choose_trained, load_classifier
from core.errors import InputProblem
from tests.stage import lose_machine, run_component, run_until_stopped
from tests.unit.classify_finetune.test_labels import write
from tests.unit.finetuning.workspace import save_model

QUICK = {"steps": 12, "per_device_batch_size": 8, "checkpoint_every": 6, "log_every": 2, "learning_rate": 0.02}
SPORTS = ["the ball went over the goal", "a team won the match", "players run on the field", "the keeper held the ball"]
FOOD = ["the soup needs more salt", "bake the bread in the oven", "slice the onion thinly", "boil rice in the pot"]


def prepare(workspace: Path) -> Path:
    (workspace / "data").mkdir()
    rows = [
        (f"{text} {number}", label, f"{label}{number}")
        for number in range(6)
        for label, texts in (("sport", SPORTS), ("food", FOOD))
        for text in texts
    ]
    write(workspace / "data/labels", names=("food", "sport"), train=rows[:32], validation=rows[32:40], test=rows[40:])
    save_model(workspace / "models/base", [text for text, _, _ in rows])
    return workspace


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workspace = prepare(tmp_path_factory.mktemp("classifier"))
    return workspace, run_component(component, workspace, QUICK)


def _weights(context):
    return load_file(context.outputs["model"] / "model.safetensors")


def test_accuracy_stands_beside_the_majority_and_the_linear_model(trained):
    _, context = trained
    metrics = {metric.name: metric for metric in context.metrics}
    assert context.headline == "accuracy"
    assert set(metrics["accuracy"].baselines) == {"majority", "tfidf_logistic_regression"}
    assert metrics["accuracy"].n == 8 and metrics["accuracy"].eval_set == "labels"
    assert metrics["accuracy"].baselines["majority"] == 0.5
    assert 0 <= metrics["macro_f1"].value <= 1


def test_the_saved_folder_classifies_as_the_report_says(trained):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    workspace, context = trained
    folder = context.outputs["model"]
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.id2label == {0: "food", 1: "sport"} and tokenizer.model_max_length == 96
    import pyarrow.parquet as pq

    rows = pq.read_table(workspace / "data/labels/test.parquet").to_pylist()
    with torch.inference_mode():
        batch = tokenizer([row["text"] for row in rows], return_tensors="pt", padding=True, truncation=True)
        predicted = [model.config.id2label[int(place)] for place in model(**batch).logits.argmax(-1)]
    right = sum(guess == row["label"] for guess, row in zip(predicted, rows, strict=True))
    accuracy = next(metric.value for metric in context.metrics if metric.name == "accuracy")
    assert right / len(rows) == accuracy
    assert str(workspace) not in (folder / "config.json").read_text()


def test_report_and_figures(trained):
    _, context = trained
    folder = context.outputs["report"]
    report = json.loads((folder / "report.json").read_text())
    assert sum(map(sum, report["confusion"])) == 8
    page = pages.classify_finetune.render(folder).html()
    assert "mostly taken for" in page and all(name in page for name in report["labels"])
    assert {path.name for path in folder.iterdir()} == {
        "report.json", "confusion.png", "loss.png", "reliability.png", "training.csv"
    }  # fmt: skip


def test_equal_inputs_give_equal_bytes(trained, tmp_path):
    _, first = trained
    second = run_component(component, prepare(tmp_path), QUICK)
    for output in ("model", "report"):
        names = sorted(path.name for path in first.outputs[output].iterdir())
        assert names == sorted(path.name for path in second.outputs[output].iterdir())
        for name in names:
            assert (first.outputs[output] / name).read_bytes() == (second.outputs[output] / name).read_bytes(), name


def test_a_stopped_run_goes_on_to_the_same_weights_on_another_machine(trained, tmp_path):
    _, whole = trained
    workspace = prepare(tmp_path)
    run_until_stopped(component, workspace, QUICK, step=6)
    lose_machine(workspace / "scratch" / "classify_finetune")
    resumed = run_component(component, workspace, QUICK)
    for name, weight in _weights(whole).items():
        assert torch.equal(weight, _weights(resumed)[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("train", ["head", "last_layer", "all"])
def test_only_what_is_named_learns(train, tmp_path):
    workspace = prepare(tmp_path)
    names, pad = ("food", "sport"), 1
    fresh = load_classifier(workspace / "models/base", names, pad, seed=1337)
    expected = choose_trained(fresh, train)
    before = {name: weight.detach().clone() for name, weight in fresh.named_parameters()}
    after = _weights(run_component(component, workspace, {**QUICK, "train": train}))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert sum(before[name].numel() for name in changed) == expected
    assert "score.weight" in changed
    assert ("model.embed_tokens.weight" in changed) == (train == "all")
    assert ("model.norm.weight" in changed) == (train != "head")


def test_last_layer_is_the_last_block_of_several(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=50, n_embd=16, n_layer=3, n_head=2, n_positions=32)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    model = load_classifier(tmp_path, ("a", "b"), 0, seed=1)
    choose_trained(model, "last_layer")
    learning = {name.rsplit(".", 1)[0] for name, weight in model.named_parameters() if weight.requires_grad}
    assert {name for name in learning if ".h." in name} and all(".h.2." in name for name in learning if ".h." in name)
    assert {"transformer.ln_f", "score"} <= learning and "transformer.wte" not in learning


def test_one_class_is_refused_before_anything_is_trained(tmp_path):
    write((tmp_path / "data").mkdir() or tmp_path / "data/labels", train=[("a", "x", "m")] * 3)
    with pytest.raises(InputProblem, match="one class only"):
        run_component(component, tmp_path, QUICK)
