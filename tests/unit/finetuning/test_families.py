"""What kind a model is and what each stage can do with it, from its config.json alone."""

import json
from types import SimpleNamespace

import pytest

from components.finetuning import families
from flows.pipeline.parent_model import problems_of_family


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "decoder"),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "decoder"),
        ({"model_type": "qwen3"}, "decoder"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "encoder"),
        ({"model_type": "bert", "architectures": ["BertLMHeadModel"], "is_decoder": True}, "decoder"),
        ({"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]}, "encoder"),
        ({"model_type": "modernbert", "architectures": ["ModernBertForMaskedLM"]}, "encoder"),
        ({"model_type": "xlm-roberta", "architectures": ["XLMRobertaForSequenceClassification"]}, "encoder"),
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "encoder-decoder"),
        ({"model_type": "bart", "architectures": ["BartForConditionalGeneration"]}, "encoder-decoder"),
        ({"model_type": "bart", "architectures": ["BartForCausalLM"], "is_encoder_decoder": False}, "decoder"),
        ({"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]}, "other"),
        ({"model_type": "vit", "architectures": ["ViTModel"]}, "other"),
        ({"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}, "other"),
    ],
)
def test_kinds(config, kind):
    assert families.classify(config, "models/base").kind == kind


ALL = ["pretrain", "evaluate@base", "classify_finetune", "instruct_finetune", "reward_model", "preference_tune"]


@pytest.mark.parametrize(
    ("config", "cannot"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, set()),
        ({"model_type": "bert"}, {"pretrain", "instruct_finetune"}),
        ({"model_type": "t5"}, {"pretrain"}),
        ({"model_type": "marian"}, {"pretrain", "classify_finetune"}),
        ({"model_type": "vit"}, set(ALL)),
    ],
)
def test_each_stage_that_cannot_says_so_in_a_sentence(config, cannot, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    parent = SimpleNamespace(init="hub/name", folder=tmp_path)
    found = problems_of_family(tmp_path, parent, ALL, {})
    assert len(found) == len(cannot)
    for stage in cannot:
        way = "set pretrain.steps to 0" if stage == "pretrain" else f"--skip {stage.partition('@')[0]}"
        [line] = [line for line in found if way in line]
        assert line.startswith("params.yaml: pretrain.init: models/") and config["model_type"] in line


@pytest.mark.parametrize(
    ("config", "skipped"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, set()),
        ({"model_type": "bert"}, {"evaluate", "preference_tune"}),
        ({"model_type": "t5"}, {"preference_tune"}),
    ],
)
def test_what_a_model_of_text_is_not_for_is_skipped_with_the_reason(config, skipped, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = {stage: families.unsuited(tmp_path, stage) for stage in ("evaluate", "reward_model", "preference_tune")}
    assert {stage for stage, reason in found.items() if reason} == skipped
    assert all(f"{stage} needs a" in found[stage] for stage in skipped)


def test_a_family_without_a_head_gives_no_reward(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "marian"}')
    assert families.unsuited(tmp_path, "reward_model") == "transformers has no classifier of type marian"


def test_stages_without_data_and_an_import_are_no_problem(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    parent = SimpleNamespace(init="hub/name", folder=tmp_path)
    values = {"pretrain": {"steps": 0}, "curate": {"instructions": {"source": "none"}, "labels": {"source": "files"}}}
    assert problems_of_family(tmp_path, parent, ALL, values) == []
    assert problems_of_family(tmp_path, SimpleNamespace(init="scratch", folder=tmp_path), ALL, {}) == []
