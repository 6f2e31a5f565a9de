"""What a folder says about its model."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from deploy.gateway import model_folder


@pytest.fixture
def folder(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "a": 1, "b": 2, "<s>": 3}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.enable_truncation(2)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write(tmp_path / "config.json", architectures=["LlamaForCausalLM"], max_position_embeddings=10)
    template = "{{ bos_token }} {% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{{ m.content }} {% endfor %}"  # noqa: E501
    write(tmp_path / "tokenizer_config.json", chat_template=template, bos_token={"content": "<s>"}, eos_token="b")
    return tmp_path


def write(path, **body):
    path.write_text(json.dumps(body))


def test_a_generator(folder):
    model = model_folder.read(folder)
    assert (model.kind, model.context) == ("generator", 10)
    assert model.special_tokens == {"bos_token": "<s>", "eos_token": "b"}
    (folder / "chat_template.jinja").write_text("{{ tools }}")
    assert model_folder.read(folder).chat_template == "{{ tools }}"


def test_what_can_run_code_is_not_served(folder):
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(model_folder.NotServable, match="safetensors"):
        model_folder.read(folder)


def test_classifiers_and_what_is_not_served(folder):
    labels = {"10": "k", **{str(place): "abcdefghij"[place] for place in range(10)}}
    write(folder / "config.json", architectures=["LlamaForSequenceClassification"], id2label=labels)
    model = model_folder.read(folder)
    assert model.kind == "classifier" and model.labels == list("abcdefghijk")
    write(folder / "config.json", architectures=["LlamaForSequenceClassification"], id2label={"0": "score"})
    with pytest.raises(model_folder.NotServable):  # a reward model
        model_folder.read(folder)
    (folder / "config.json").write_text("[")
    with pytest.raises(model_folder.NotServable, match="no readable config"):
        model_folder.read(folder)
