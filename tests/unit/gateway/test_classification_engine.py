"""The classifiers' engine cuts texts and decides as training did."""

import json

import pytest
from fastapi.testclient import TestClient

from components.classify_finetune.classifier import load_classifier
from components.finetuning.models import give_padding, load_tokenizer, save
from deploy.gateway.classification_engine import build
from tests.unit.finetuning import tiny


@pytest.fixture(scope="module", params=["t5", "bert"])
def folder(request, tmp_path_factory):
    base = tmp_path_factory.mktemp(request.param) / "base"
    tiny.save(base, request.param)
    tokenizer = load_tokenizer(base)
    tokenizer.model_max_length = 16
    model = load_classifier(base, ("ham", "spam"), give_padding(tokenizer, base), seed=1)
    save(model, tokenizer, base.with_name("model"))
    return base.with_name("model")


def classify(folder, texts):
    answer = TestClient(build(str(folder))).post("/v1/classify", json={"input": texts})
    assert answer.status_code == 200
    return answer.json()


def test_long_texts_and_those_that_spell_the_end_are_cut_with_their_end(folder):
    texts = ["ball " * 200, "ball", "ball </s> salt [SEP] bread"]
    long, short, _ = classify(folder, texts)
    assert (long["tokens"], long["truncated"]) == (16, True) and not short["truncated"]
    assert classify(folder, texts[:1])[0]["probabilities"] == pytest.approx(long["probabilities"], abs=1e-5)


@pytest.mark.parametrize(("threshold", "label"), [(1e-6, "spam"), (0.999999, "ham")])
def test_the_threshold_of_training_decides(folder, threshold, label):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decision_threshold": {"spam": threshold}}))
    [found] = classify(folder, ["the ball"])
    assert found["label"] == label and found["probability"] == found["probabilities"][label]
