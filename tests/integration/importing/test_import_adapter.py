"""An adapter that plain PEFT made becomes a version on its base, and goes out again as it came."""

import json
import shutil

import pytest

import core.workspace
from flows.importing import adapter
from flows.importing.register import import_model
from tests.integration.importing.commands import stemma
from tests.tiny_decoder import save
from tests.workspace import make_workspace

PROMPT = "one two"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("adapter") / "workspace")


@pytest.fixture(scope="module")
def base(workspace):
    folder = workspace.root.parent / "mine"
    save(folder, 2.0)
    stemma(workspace, "import", "../mine", "--as", "tiny", "--license", "mit")
    return folder


@pytest.fixture(scope="module")
def lora(workspace, base):
    """As somebody would make it who has never heard of Stemma."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "up_proj", "lm_head"], task_type="CAUSAL_LM"),
    )
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.5)
    folder = workspace.root.parent / "lora"
    model.save_pretrained(folder)
    return folder


def changed(lora, name, **values):
    folder = lora.parent / name
    shutil.copytree(lora, folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


def test_it_is_found_a_base_by_the_name_of_it_and_comes_out_with_the_same_bytes(workspace, base, lora, monkeypatch):
    assert json.loads((lora / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    told = stemma(workspace, "import", "../lora", "--as", "tuned", "--license", "mit")
    assert f"tuned:1: {lora}, 7 files" in told and "Note: a LoRA adapter of rank 2 on tiny:1" in told
    assert "tuned:1 already is" in stemma(workspace, "import", "../lora", "--as", "tuned", "--base", "tiny:1")
    out = workspace.root.parent / "out"
    stemma(workspace, "export", "tuned:1", str(out), "--format", "adapter")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (out / name).read_bytes() == (lora / name).read_bytes()
    assert "tuned:1 already is" in stemma(workspace, "import", str(out), "--as", "tuned"), "by the digests of the base"
    monkeypatch.setattr(adapter, "misfit", lambda folder, base: pytest.fail("it is known"))
    assert not import_model(core.workspace.Workspace(workspace.root, workspace.home), str(lora), "tuned").new
    assert not list((workspace.home / "imports").iterdir())
    assert "tuned:1" in stemma(workspace, "impact", "tiny:1")
    assert "bit-identical" in stemma(workspace, "reproduce", "tuned:1")
    assert "tuned:1 is now tuned@champion" in stemma(
        workspace, "promote", "tuned:1", "--to", "champion", "--reason", "to be served"
    )
    assert "Every check passed" in stemma(workspace, "audit")


def test_merged_it_computes_what_base_and_adapter_compute(workspace, base, lora):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    stemma(workspace, "import", "../lora", "--as", "tuned")
    whole = workspace.root.parent / "whole"
    stemma(workspace, "export", "tuned:1", str(whole))
    ids = AutoTokenizer.from_pretrained(whole)(PROMPT, return_tensors="pt").input_ids
    plain = AutoModelForCausalLM.from_pretrained(base)
    with torch.inference_mode():
        untouched = plain(ids).logits
        both = PeftModel.from_pretrained(plain, lora)(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(whole)(ids).logits
    assert torch.allclose(merged, both, atol=1e-5) and not torch.allclose(merged, untouched, atol=0.1)


def test_what_fits_no_base_is_refused_in_a_sentence(workspace, base, lora):
    unknown = changed(lora, "unknown", base_model_name_or_path="nobody/nothing")
    told = stemma(workspace, "import", str(unknown), "--as", "other", code=2)
    assert "its base, nobody/nothing, was not imported into this registry: import that first, or name" in told
    assert "only an adapter alone has a base" in stemma(
        workspace, "import", "../mine", "--as", "other", "--base", "tiny:1", code=2
    )
    assert "is no folder here" in stemma(workspace, "import", "../lora", "--as", "other", "--base", "none:1", code=2)
    assert "is an adapter on its base itself" in stemma(
        workspace, "import", "../lora", "--as", "other", "--base", "tuned:1", code=2
    )
    ranked = changed(lora, "ranked", r=4)
    told = stemma(workspace, "import", str(ranked), "--as", "other", code=2)
    assert "differs in shape: base_model.model.lm_head.lora_A.weight is [2, 8], and the base takes [4, 8]" in told
    assert "nothing was changed" in told and "other" not in stemma(workspace, "models")
    assert not list((workspace.home / "imports").iterdir())


def test_a_folder_may_be_the_base(workspace, base, lora):
    told = stemma(workspace, "import", "../lora", "--as", "apart", "--base", "../mine")
    assert f"a LoRA adapter of rank 2 on {base}" in told
