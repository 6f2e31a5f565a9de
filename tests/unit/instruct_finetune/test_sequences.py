"""Encoder-decoders: the decoder learns the answer to what the encoder reads, measured by overlap with the reference."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from components import pages
from components.encoder_decoder import sources, targets
from components.finetuning.overlap import overlap
from components.generation import answers
from components.instruct_finetune import component
from core.errors import InputProblem
from tests.stage import run_component, run_until_stopped
from tests.unit.finetuning import tiny
from tests.unit.finetuning.workspace import quick, write_records


def records(count, seed):
    """The first word decides the answer."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        words = [("the", "a")[number % 2], *random.choice(tiny.WORDS, 2).tolist()]
        answer = ("soup pot", "goal match")[number % 2]
        rows.append({"prompt": " ".join(words), "completion": answer, "group": f"{seed}-{number}"})
    return rows


def prepare(workspace, family):
    tiny.save(workspace / "models/base", family, spread=0)
    write_records(workspace, instruct=records(60, 1), development=records(12, 2), test=records(12, 3))
    return workspace


PARAMETERS = quick(40, optimizer="adamw", learning_rate=0.005, schedule="constant", checkpoint_every=20, log_every=5)


@pytest.fixture(scope="module", params=["t5", "bart"])
def trained(request, tmp_path_factory):
    workspace = prepare(tmp_path_factory.mktemp(request.param), request.param)
    return request.param, run_component(component, workspace, PARAMETERS)


def test_it_learns_and_is_measured_beside_the_untuned_model_and_a_copy(trained):
    _, context = trained
    metrics = {metric.name: metric for metric in context.metrics}
    assert context.headline == "rouge_l"
    assert metrics["answer_loss"].value < metrics["answer_loss"].baselines["base"] - 0.5
    for name in ("rouge_l", "bleu"):
        assert set(metrics[name].baselines) == {"base", "copy of the question"}
        assert metrics[name].n == 12 and metrics[name].stderr is not None
    assert metrics["rouge_l"].value > metrics["rouge_l"].baselines["base"]
    page = pages.instruct_finetune.render(context.outputs["report"]).html()
    assert "ROUGE-L" in page and "copy of the question" in page


def test_the_saved_model_answers_as_reported(trained):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    _, context = trained
    folder = context.outputs["model"]
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    shown = json.loads((context.outputs["report"] / "report.json").read_text())["answers"]
    said = answers(model, tokenizer, [one["question"] for one in shown], max_new_tokens=24)
    assert [one["answer"] for one in shown] == [one[0].strip() for one in said]


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_weights(trained, tmp_path):
    family, whole = trained
    prepare(tmp_path, family)
    run_until_stopped(component, tmp_path, PARAMETERS, step=20)
    resumed = run_component(component, tmp_path, PARAMETERS)
    weights = [load_file(context.outputs["model"] / "model.safetensors") for context in (whole, resumed)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


def test_the_best_weights_on_development_questions_are_kept(tmp_path):
    prepare(tmp_path, "t5")
    context = run_component(component, tmp_path, {**PARAMETERS, "evaluate_every": 10, "patience": 2})
    [loss] = [metric.value for metric in context.metrics if metric.name == "answer_loss"]
    points = [event["metrics"] for line in context.events.read_text().splitlines()
              if (event := json.loads(line))["kind"] == "point"]  # fmt: skip
    measured = [point["development_loss"] for point in points if "development_loss" in point]
    assert len(measured) >= 2 and loss == pytest.approx(min(measured), rel=1e-3)


def test_what_the_halves_read():
    t5, bart = tiny.tokenizer_of("t5"), tiny.tokenizer_of("bart")
    turns = [{"role": "user", "content": "ball"}, {"role": "assistant", "content": "team"},
             {"role": "user", "content": "goal"}]  # fmt: skip
    for tokenizer in (t5, bart):
        [alone, of_several] = sources(tokenizer, ["ball", turns])
        assert alone[-1] == of_several[-1] == tokenizer.eos_token_id and len(of_several) > len(alone)
        [target] = targets(tokenizer, ["ball"])
        assert target[-1] == tokenizer.eos_token_id and target.count(tokenizer.eos_token_id) == 1
    assert sources(t5, []) == targets(t5, []) == []


def test_bleu_and_rouge_are_those_of_their_libraries():
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    said = ["the team won the match", "salt", "bake the bread in the oven today", ""]
    wanted = ["the team won that match", "salt", "bake bread in an oven", "onion"]
    found = overlap(said, wanted, ["a", "b", "c", "d"], seed=1)
    assert found.bleu.value == pytest.approx(sacrebleu.corpus_bleu(said, [wanted]).score)
    scorer = RougeScorer(["rougeL"])
    each = [scorer.score(b, a)["rougeL"].fmeasure for a, b in zip(said, wanted, strict=True)]
    assert found.rouge_l.value == pytest.approx(np.mean(each))
    assert found.bleu.stderr > 0 and found.rouge_l.stderr > 0


def test_what_an_encoder_decoder_or_an_encoder_cannot_is_one_sentence(tmp_path):
    prepare(tmp_path, "t5")
    with pytest.raises(InputProblem, match="template is alpaca, which is for decoders"):
        run_component(component, tmp_path, {**PARAMETERS, "template": "alpaca"})
    tiny.save(tmp_path / "models/base", "bert")
    with pytest.raises(InputProblem, match="a model of type bert is an encoder, which writes no text") as caught:
        run_component(component, tmp_path, PARAMETERS)
    assert "--skip instruct_finetune" in caught.value.problems[0]
