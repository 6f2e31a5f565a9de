"""A model like T5, with a tokenizer that was trained for it, through every stage that it is for, on files of a user."""

import json

import numpy as np
import pytest

import components
from tests.stage import run_component
from tests.unit.finetuning.workspace import quick

WORDS = "red green blue cat dog bird runs sleeps eats fast slowly today here old young big small house".split()
TRAINING = {"optimizer": "adamw", "learning_rate": 0.01, "schedule": "constant"}


def write_parent(folder, texts):
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>", "<unk>"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=letters, show_progress=False),
    )
    trained.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_ff=64, d_kv=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root, random = tmp_path_factory.mktemp("t5"), np.random.default_rng(1)
    said = [" ".join(random.choice(WORDS, 3)) for _ in range(120)]
    rows = [{"prompt": f"first word: {text}", "completion": text.split()[0]} for text in said]
    (root / "data/raw").mkdir(parents=True)
    (root / "data/raw/first.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labelled = [
        (f"{text} {end}", label) for text in said[:60] for end, label in (("cat", "animal"), ("house", "thing"))
    ]
    (root / "data/raw/labels.csv").write_text("text,label\n" + "".join(f"{a},{b}\n" for a, b in labelled))
    write_parent(root / "models/parent", [row["prompt"] for row in rows])
    return root


def run(workspace, stage, instance=None, **parameters):
    context = run_component(components.load(stage), workspace, parameters, instance=instance)
    return {metric.name: metric for metric in context.metrics}, context


def test_it_goes_through_every_stage_and_is_skipped_where_a_decoder_is_needed(workspace):
    run(workspace, "curate", sources=[], labels={"source": "files", "files": ["data/raw/labels.csv"]},
        instructions={"source": "files", "files": {"instruct": ["data/raw/first.jsonl"]}})  # fmt: skip
    _, context = run(workspace, "tokenize", tokenizer="parent")
    assert not context.warnings, "it needs no chat template"
    run(workspace, "pretrain", init="models/parent", steps=0)
    metrics, _ = run(workspace, "instruct_finetune", **quick(8, checkpoint_every=8, **TRAINING))
    assert metrics["answer_loss"].value < metrics["answer_loss"].baselines["base"]
    for name in ("base", "instruct"):
        metrics, context = run(workspace, "evaluate", name)
        assert context.headline == "rouge_l" and set(metrics["bleu"].baselines) == {"copy of the question"}
    metrics, _ = run(workspace, "classify_finetune", **quick(4, checkpoint_every=4, **TRAINING))
    assert metrics["accuracy"].n

    inputs = {"instruct": workspace / "models/instruct", "instructions": workspace / "data/instructions"}
    component = components.load("preference_tune")
    reason = component.nothing_to_do(component.parameters(), inputs)
    assert "a model of type t5 is an encoder-decoder; preference_tune needs a decoder" in reason
