"""Packed rows: the loss is that of the conversations by themselves; a model that cannot keep them apart is refused."""

import hashlib
import json
from itertools import chain

import numpy as np
import pytest
import torch

from components import pages
from components.contract import Context
from components.conversations import Encoded
from components.finetuning import families
from components.finetuning.models import load_causal
from components.instruct_finetune import component, packing
from components.instruct_finetune.stage import fit
from core.errors import InputProblem
from tests.stage import run_component, run_until_stopped
from tests.unit.finetuning import tiny
from tests.unit.finetuning.workspace import quick

# Windows of 8 tokens (gemma2, mistral), which most of the conversations exceed.
FAMILIES = ("llama", "qwen2", "gpt2", "gemma", "gemma2", "mistral", "qwen2_moe")
ADAPTER = {"type": "lora", "rank": 4, "dropout": 0.1, "output": "adapter"}
PACKED = {"packing": "best_fit", "seq_length": 80}


def conversations(count, vocabulary):
    random = np.random.default_rng(0)
    ids = [random.integers(3, vocabulary, size).tolist() for size in random.integers(5, 31, count)]
    return Encoded(ids, [[0, *[1] * (len(row) - 1)] for row in ids])


def trained(folder, root, examples, **parameters):
    context = Context(component.parameters(**quick(4, **parameters)), 1, {}, {}, root)
    model, tokenizer = load_causal(folder), tiny.tokenizer_of("llama")
    tokenizer.pad_token = tokenizer.eos_token
    return fit(context, model, tokenizer, examples)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_batch_trains_as_its_conversations_by_themselves(tmp_path, family):
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0} if family == "gpt2" else {}
    _, tokenizer = tiny.save(tmp_path / "base", family, **still)
    alone = conversations(16, len(tokenizer))
    packed = packing.pack(alone, 64)
    assert packed.conversations == 16 and len(packed.lengths) < 8 and packed.fullness > 0.75
    assert sorted(chain(*packed.rows["input_ids"])) == sorted(chain(*alone.input_ids))
    # Every step sees everything, so that both batches hold the same conversations.
    common = {"optimizer": "adamw", "learning_rate": 0.01, "schedule": "constant", "warmup_ratio": 0.0}
    rows = len(packed.lengths)
    some = [
        trained(tmp_path / "base", tmp_path / "alone", alone, per_device_batch_size=16, **common),
        trained(tmp_path / "base", tmp_path / "whole", packed, per_device_batch_size=rows, **common),
    ]
    if family == "llama":
        some.append(trained(tmp_path / "base", tmp_path / "parts", packed, per_device_batch_size=1,
                            gradient_accumulation_steps=rows, **common))  # fmt: skip
    curve, *others = some
    for other in others:  # the losses of later steps depend on the gradients of those before
        assert [p["loss"] for p in other] == pytest.approx([p["loss"] for p in curve], rel=1e-4)


def test_what_a_conversation_says_changes_nothing_beside_it(tmp_path):
    model, _ = tiny.save(tmp_path, "llama")
    first, other, second = (torch.randint(3, 23, (1, size), generator=torch.Generator().manual_seed(size + 1))
                            for size in (9, 9, 12))  # fmt: skip
    places = torch.cat([torch.arange(9), torch.arange(12)])[None]
    after = [
        model(input_ids=torch.cat([before, second], 1), position_ids=places, use_cache=False).logits[:, 9:]
        for before in (first, other)
    ]
    assert torch.equal(*after)


def test_the_end_of_a_conversation_does_not_learn_the_beginning_of_the_next():
    ids = conversations(16, 90).input_ids
    packed = packing.pack(Encoded(ids, [[1] * len(row) for row in ids]), 64)
    for row in packed.rows:
        starts = np.cumsum([0, *row["seq_lengths"][:-1]])
        assert [place for place, label in enumerate(row["labels"]) if label == -100] == starts.tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_families_that_keep_conversations_apart_are_let_through(tmp_path, family):
    tiny.save(tmp_path / "base", family)
    context = Context(component.parameters(**PACKED), 1, {}, {}, tmp_path)
    packing.require(context, load_causal(tmp_path / "base"))
    packing.require(
        Context(component.parameters(**PACKED, precision="bf16"), 1, {}, {}, tmp_path), load_causal(tmp_path / "base")
    )
    assert not families.of(tmp_path / "base").problem("instruct_finetune", packs=True)


OTHERS = {
    "mamba": {"state_size": 8},
    "bloom": {"n_layer": 2, "n_head": 2},
    "opt": {"num_attention_heads": 2, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "falcon": {"num_attention_heads": 2, "alibi": True},
    "lfm2": {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64,
             "layer_types": ["conv", "full_attention"]},
}  # fmt: skip


@pytest.mark.parametrize("family", OTHERS)
def test_a_family_that_cannot_is_refused_by_its_configuration_and_by_trial(tmp_path, family):
    from transformers import AutoConfig, AutoModelForCausalLM

    usual = {"vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 64}
    config = AutoConfig.for_model(family, **usual | OTHERS[family])
    config.save_pretrained(tmp_path / "base")
    [problem] = families.problems(tmp_path / "base", ["instruct_finetune"], ["instruct_finetune"])
    assert f"type {family} is a decoder, in which the conversations of a row would see each other" in problem
    assert not families.problems(tmp_path / "base", ["instruct_finetune"])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.add_(torch.randn_like(weights) * 0.3)
    with pytest.raises(InputProblem, match=f"in a model of type {family} the conversations .* set .*packing to none"):
        packing.require(Context(component.parameters(**PACKED), 1, {}, {}, tmp_path), model)


def test_encoder_decoders_and_rows_without_a_length_are_refused(tmp_path):
    tiny.save(tmp_path / "base", "t5")
    with pytest.raises(InputProblem, match=r"type t5 is an encoder-decoder, in which .*set instruct_finetune.packing"):
        families.require(tmp_path / "base", "instruct_finetune", packs=True)
    with pytest.raises(ValueError, match="packing best_fit fills rows of seq_length tokens, and seq_length is null"):
        component.parameters(packing="best_fit")


def digests(workspace):
    files = [*(workspace / "models/instruct").rglob("*"), *(workspace / "reports/instruct_finetune").iterdir()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [{"type": "none"}, ADAPTER], ids=["weights", "adapter"])
def test_the_stage_packs_goes_on_after_a_stop_and_says_how_full_rows_are(tmp_path, adapter):
    from tests.unit.finetuning.workspace import make_workspace

    parameters = quick(4, adapter=adapter, optimizer="adamw", per_device_batch_size=4, train_on="last", **PACKED)
    run_component(component, make_workspace(tmp_path / "whole"), parameters)
    broken = make_workspace(tmp_path / "broken")
    run_until_stopped(component, broken, parameters, step=2)
    run_component(component, broken, parameters)
    assert digests(broken) == digests(tmp_path / "whole")
    report = broken / "reports/instruct_finetune"
    said = json.loads((report / "report.json").read_text())["packing"]
    assert said["conversations"] == 120 and said["rows"] < 60 and said["seq_length"] == 80
    assert 0.8 < said["fullness"] <= 1
    assert f"120 conversations share {said['rows']} rows of 80 tokens" in pages.instruct_finetune.render(report).html()
