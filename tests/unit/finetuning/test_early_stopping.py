"""Every stage that learns from fixed examples ends when its development loss falls no more, with the best weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from components import classify_finetune, preference_tune, reward_model
from components.contract import Context, Interrupted
from components.finetuning.models import load_causal, load_reward_model, load_tokenizer
from components.finetuning.pairs import Pair, for_development
from components.preference_tune.kto import Labelled
from core.errors import InputProblem
from tests.stage import lose_machine
from tests.unit.finetuning.workspace import quick, signature_records, write_model

RECORDS = signature_records(48)
ANSWERS = (" alpha", " beta gamma delta omega", " theta alpha beta")


def pairs(start, end):
    return [Pair({"prompt": RECORDS[row]["prompt"], "group": str(row)}, ANSWERS[1 + row % 2], ANSWERS[0], None)
            for row in range(start, end)]  # fmt: skip


def classify(context, folder, tokenizer):
    from components.classify_finetune.classifier import encode_texts, load_classifier
    from components.classify_finetune.labels import LabelledTexts, Split
    from components.classify_finetune.stage import fit

    texts = [f"{record['prompt']} {ANSWERS[row % 3]}" for row, record in enumerate(RECORDS)]
    train, validation = (Split(part, np.arange(len(part)) % 3, part) for part in (texts[:36], texts[36:]))
    model = load_classifier(folder, ("a", "b", "c"), tokenizer.pad_token_id, seed=1)
    tokenizer.model_max_length = 96
    encoded = [encode_texts(tokenizer, split.texts, end=None) for split in (train, validation)]
    data = LabelledTexts(["a", "b", "c"], train, validation, validation)
    weights = np.array([1.0, 2.0, 0.5])

    def loss(model):
        scores = [model(input_ids=torch.tensor([ids])).logits[0] for ids in encoded[1]]
        each = torch.nn.functional.cross_entropy(torch.stack(scores), torch.arange(12) % 3, reduction="none")
        return float((each * torch.tensor(weights)[torch.arange(12) % 3]).mean())

    return model, fit(context, model, tokenizer, data, encoded[0], weights, encoded[1]), loss


def reward(context, folder, tokenizer):
    from components.reward_model.stage import fit, score_side

    model = load_reward_model(folder, seed=1)

    def loss(model):
        chosen, rejected = (torch.tensor(score_side(model, tokenizer, pairs(36, 48), side))
                            for side in ("chosen", "rejected"))  # fmt: skip
        return float(-torch.nn.functional.logsigmoid(chosen - rejected).mean())

    return model, fit(context, model, tokenizer, pairs(0, 36), pairs(36, 48)), loss


def preference(context, folder, tokenizer):
    from components.preference_tune.stage import fit

    policy, reference = load_causal(folder), load_causal(folder)
    examples = [pairs(0, 36), pairs(36, 48)]
    if context.parameters.method == "kto":
        examples = [[Labelled(p.record, p.chosen, True) if row % 2 else Labelled(p.record, p.rejected, False)
                     for row, p in enumerate(part)] for part in examples]  # fmt: skip
    curve = fit(context, policy, reference, tokenizer, examples[0], {}, examples[1])

    def loss(model):  # of DPO with the sigmoid's loss
        from components.conversations import Encoded
        from components.finetuning.scoring import likelihood
        from components.finetuning.templates import encode_answers

        def logps(model, side):
            encoded: Encoded = encode_answers(
                tokenizer, [p.record for p in pairs(36, 48)], [getattr(p, side) for p in pairs(36, 48)]
            ).whole()
            return torch.tensor(likelihood(model, encoded, pad=tokenizer.pad_token_id).log_probabilities)

        before = load_causal(folder)
        gain = {side: logps(model, side) - logps(before, side) for side in ("chosen", "rejected")}
        return float(-torch.nn.functional.logsigmoid(0.1 * (gain["chosen"] - gain["rejected"])).mean())

    return policy, curve, loss if context.parameters.method == "dpo" else None


STAGES = {
    "classify_finetune": (classify_finetune.component, classify, {}),
    "reward_model": (reward_model.component, reward, {}),
    "dpo": (preference_tune.component, preference, {"losses": ["sigmoid"], "loss_weights": [1.0]}),
    **{name: (preference_tune.component, preference, {"method": name}) for name in ("kto", "orpo")},
}
# A rate at which it soon gets worse.
WORSE = {"optimizer": "adamw", "learning_rate": 0.1, "schedule": "constant", "warmup_ratio": 0.0, "evaluate_every": 1,
         "patience": 2}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    write_model(folder)
    return folder


def run(stage, folder, root, stop=None, **more):
    component, fit, own = STAGES[stage]
    context = Context(component.parameters(**{**quick(30), **WORSE, **own, **more}), 1337, {}, {}, root)
    losses = {}

    def log(metrics, step):
        if "development_loss" in metrics:
            losses[step] = metrics["development_loss"]
        context.stopping = step == stop

    context.log = log
    return *fit(context, folder, load_tokenizer(folder)), losses


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_it_ends_when_the_development_loss_falls_no_more_with_the_best_weights(stage, folder, tmp_path):
    model, curve, loss, losses = run(stage, folder, tmp_path)
    best = min(losses, key=losses.get)
    assert list(losses) == list(range(1, best + 3)) and best + 2 < 30, losses
    assert curve[-1]["step"] == best + 2
    [kept] = (tmp_path / "checkpoints").glob("best-*")
    assert kept.name == f"best-{best}"
    weights = model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in load_file(kept / "model.safetensors").items())
    if loss is not None:
        model.eval()
        assert loss(model) == pytest.approx(losses[best], rel=1e-4)


@pytest.mark.parametrize("stage", ["classify_finetune", "dpo"])
def test_a_stopped_run_ends_with_the_same_weights_on_another_machine(stage, folder, tmp_path):
    whole, *_ = run(stage, folder, tmp_path / "whole", patience=None, steps=6)
    with pytest.raises(Interrupted):
        run(stage, folder, tmp_path / "broken", stop=3, patience=None, steps=6)
    lose_machine(tmp_path / "broken")
    resumed, *_ = run(stage, folder, tmp_path / "broken", patience=None, steps=6)
    weights = resumed.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in whole.state_dict().items())


def test_the_pairs_that_choose_are_none_of_those_that_measure(tmp_path):
    parameters = reward_model.component.parameters(evaluate_every=5, evaluation_examples=4, held_out_share=0.3)
    context = Context(parameters, 1, {}, {}, tmp_path)
    training, development = for_development(context, "reward.jsonl", pairs(0, 40))
    assert len(development) == 4 and not {id(p.record) for p in training} & {id(p.record) for p in development}
    with pytest.raises(InputProblem, match=r"reward.jsonl: 1 examples give .* set evaluate_every to null"):
        for_development(context, "reward.jsonl", pairs(0, 1))
    whole = Context(reward_model.component.parameters(), 1, {}, {}, tmp_path)
    assert for_development(whole, "reward.jsonl", pairs(0, 3))[1] == []


def test_online_methods_have_no_development_loss():
    with pytest.raises(ValueError, match="evaluate_every is set; grpo learns from drawn answers"):
        preference_tune.component.parameters(method="grpo", evaluate_every=5)
    with pytest.raises(ValueError, match="patience counts measurements, and evaluate_every is null"):
        reward_model.component.parameters(patience=5)
