"""Every family of decoders and encoder-decoders: loads, learns whole and by LoRA, is saved, answers as by itself."""

import pytest
import torch

from components.contract import Context
from components.conversations import Encoded
from components.finetuning import adapters, sequences
from components.finetuning.models import load_causal, save
from components.generation import answers
from components.instruct_finetune import InstructFinetuneParameters, stage
from tests.unit.finetuning import tiny

FAMILIES = (*tiny.DECODERS, *tiny.ENCODER_DECODERS)
SHORT, LONG = "the ball", "soup salt bread oven onion rice pot bake the keeper won a match"


@pytest.fixture(scope="module", params=FAMILIES)
def base(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "base"
    tiny.save(folder, request.param)
    return request.param, folder


def load(family, folder, **options):
    return (sequences.load_encoder_decoder if family in tiny.ENCODER_DECODERS else load_causal)(folder, **options)


def logits(model, family):
    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12, 13, 14]])
    more = {"decoder_input_ids": ids[:, :4]} if family in tiny.ENCODER_DECODERS else {}
    with torch.inference_mode():
        return model.eval()(input_ids=ids, **more).logits


def test_greedy_answers_are_those_of_generate(base):
    family, folder = base
    model, tokenizer = load(family, folder), tiny.tokenizer_of(family)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    prompts = [SHORT, LONG, "keeper"]
    found = answers(model, tokenizer, prompts, max_new_tokens=14)
    assert sum(len(answer[0]) for answer in found) > 20  # not all of them end at once
    for prompt, answer in zip(prompts, found, strict=True):
        ids = tokenizer([prompt], return_tensors="pt", add_special_tokens=family in tiny.ENCODER_DECODERS)
        made = model.generate(
            input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], max_new_tokens=14, do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )[0]  # fmt: skip
        own = made if family in tiny.ENCODER_DECODERS else made[ids["input_ids"].shape[1] :]
        assert answer == [tokenizer.decode(own, skip_special_tokens=True)]


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_a_few_steps_change_the_model_that_is_saved(base, adapter, tmp_path):
    family, folder = base
    parameters = InstructFinetuneParameters(
        steps=2, per_device_batch_size=2, checkpoint_every=1, log_every=1, optimizer="adamw", learning_rate=0.01,
        adapter={"type": adapter, "rank": 4},
    )  # fmt: skip
    tokenizer = tiny.tokenizer_of(family)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    (tmp_path / "scratch").mkdir()
    context = Context(parameters, 7, {}, {}, tmp_path / "scratch")
    apart = family in tiny.ENCODER_DECODERS
    model = load(family, folder, **adapters.loading(parameters))
    before = logits(model, family)
    model = adapters.attach(model, parameters.adapter, task="seq2seq" if apart else "causal", seed=7)
    assert torch.allclose(logits(model, family), before, atol=1e-6)
    rows = [[5, 6, 7, 8, 9, 3], [9, 10, 11, 3], [12, 7, 5], [8, 8, 9, 10, 3]]
    if apart:
        curve = sequences.fit(context, parameters, model, tokenizer, rows, rows, description="instruct_finetune")
    else:
        curve = stage.fit(context, model, tokenizer, Encoded(rows, [[0, *[1] * (len(row) - 1)] for row in rows]))
    model = adapters.finished(model, parameters.adapter)
    after = logits(model, family)
    assert len(curve) == 2 and not torch.allclose(after, before, atol=1e-4)
    save(model, tokenizer, tmp_path / "model", base=folder)
    assert torch.allclose(logits(load(family, tmp_path / "model"), family), after, atol=1e-5)
