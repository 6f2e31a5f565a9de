"""Adapters of others: what their files may say."""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from core import adapted, files
from core.errors import InputProblem
from core.workspace import Workspace
from flows.importing import adapter, stage
from registry.store.manifests import digest_of
from tests.tiny_decoder import save

NAME = "base_model.model.model.layers.0.self_attn.q_proj"
PLAIN = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}


@pytest.fixture
def base(tmp_path):
    save(tmp_path / "base", 2.0)
    return tmp_path / "base"


def write(folder, *, a=(2, 8), b=(8, 2), more=(), **settings):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**PLAIN, **settings}))
    weights = {f"{NAME}.lora_A.weight": torch.zeros(a), f"{NAME}.lora_B.weight": torch.zeros(b)}
    save_file({**weights, **{name: torch.zeros(1) for name in more}}, folder / "adapter_model.safetensors")
    return folder


def test_what_peft_writes_is_taken(tmp_path, base):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for number, settings in enumerate(
        [{}, {"use_dora": True}, {"use_rslora": True, "bias": "all"}, {"modules_to_save": ["lm_head"]},
         {"rank_pattern": {"q_proj": 3}}]
    ):  # fmt: skip
        config = LoraConfig(r=2, target_modules=["q_proj", "up_proj"], **settings)  # no task, so it names the class
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / str(number))
        assert adapter.problems(tmp_path / str(number)) == []
        assert adapter.unfitting(tmp_path / str(number), base) is None


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"megatron_config": {"a": 1}, "megatron_core": "own.module"}, "sets megatron_config, megatron_core, which"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"layer_replication": [[0, 1]]}, "sets layer_replication, which is not taken"),
        ({"trust_remote_code": True}, "sets trust_remote_code, which is not taken"),
        ({"auto_mapping": {"base_model_class": "A", "parent_library": "os"}}, "auto_mapping.parent_library"),
        ({"peft_type": "IA3"}, "peft_type: Input should be 'LORA'"),
        ({"r": 0}, "r: Input should be greater"),
    ],
)
def test_settings_that_do_more_than_add_are_refused(tmp_path, settings, why):
    [problem] = adapter.problems(write(tmp_path / "lora", **settings))
    assert why in problem


def test_pickled_weights_and_damaged_files_are_refused(tmp_path, base):
    folder = write(tmp_path / "lora")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "its weights are pickled (adapter_model.bin), which is not read" in adapter.problems(folder)[0]
    (folder / "adapter_config.json").write_text("[" * 100_000)
    assert "is no adapter_config.json of PEFT" in adapter.problems(folder)[1]
    damaged = write(tmp_path / "damaged")
    negative = json.dumps({"a": {"dtype": "F32", "shape": [-1, 8], "data_offsets": [0, 0]}}).encode()
    for header in (b"\xff" * 20, _headed(b"[" * 100_000), _headed(negative)):
        (damaged / "adapter_model.safetensors").write_bytes(header)
        with pytest.raises(InputProblem, match="is damaged"):
            adapter.unfitting(damaged, base)
    (damaged / "base.json").write_text("[" * 100_000)
    with pytest.raises(InputProblem, match="does not name the weights of a base"):
        adapter.assemble(damaged, base, tmp_path / "model")


def _headed(header):
    return struct.pack("<Q", len(header)) + header


@pytest.mark.slow
def test_shapes_are_compared_with_the_base(tmp_path, base):
    assert adapter.unfitting(write(tmp_path / "fits"), base) is None
    assert adapter.misfit(tmp_path / "fits", base) is None, "in a process of its own"
    assert "lora_B.weight is [9, 2], and the base takes [8, 2]" in adapter.unfitting(
        write(tmp_path / "b", b=(9, 2)), base
    )
    more = write(tmp_path / "more", more=[f"{NAME}.bias"])
    assert f"{NAME}.bias is [1], and the base takes not there" in adapter.unfitting(more, base)
    assert "does not fit its base" in adapter.unfitting(write(tmp_path / "none", target_modules=["c_attn"]), base)
    assert "does not fit its base" in adapter.unfitting(write(tmp_path / "regex", target_modules="("), base)
    named = write(tmp_path / "named")
    (named / "base.json").write_text(json.dumps({"weights": {"model.safetensors": "0" * 64}}))
    with pytest.raises(InputProblem, match="is an adapter for another base"):
        adapter.assemble(named, base, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_an_adapter_that_changes_after_the_import_began_is_not_registered_as_it_is_then(tmp_path, base):
    (tmp_path / "models").mkdir()
    base.rename(tmp_path / "models/parent")
    folder = write(tmp_path / "lora")
    adapter.assemble(folder, tmp_path / "models/parent", tmp_path / "before")
    order = {"source": str(folder), "model": "mine", "path": "models/mine", "license": None, "base": "tiny:1",
             "digest": digest_of(tmp_path / "before")}  # fmt: skip
    write(folder, a=(2, 9))
    with pytest.raises(InputProblem, match="lora holds other files than when the import began"):
        stage.bring(Workspace(tmp_path, tmp_path / "home"), order)
    assert not (tmp_path / stage.RECEIPT).exists()


def test_a_tokenizer_beside_the_adapter_goes_before_the_bases(tmp_path, base):
    folder = write(tmp_path / "lora")
    names = adapter.assemble(folder, base, tmp_path / "plain", linked=True)
    assert names == tuple(sorted(["adapter/adapter_config.json", "adapter/adapter_model.safetensors",
                                  "adapter/base.json", *(file.name for file in base.iterdir())]))  # fmt: skip
    assert adapted.problem(tmp_path / "plain") is None
    (folder / "tokenizer.json").write_text("{}")
    names = adapter.assemble(folder, base, tmp_path / "own")
    assert files.sha256(tmp_path / "own/tokenizer.json") == files.sha256(folder / "tokenizer.json")
    assert "tokenizer_config.json" not in names
