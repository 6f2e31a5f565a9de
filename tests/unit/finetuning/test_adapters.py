"""Adapters: they begin with no change, are their merged weights to rounding, and are saved beside an untouched base."""

import hashlib
import json

import pytest
import torch

from components.finetuning import adapters
from components.finetuning.models import load_causal, load_reward_model, load_tokenizer, save
from components.finetuning.parameters import AdapterParameters, FineTuningParameters
from core import adapted
from core.errors import InputProblem
from tests.unit.finetuning.families import FAMILIES, tiny
from tests.unit.finetuning.workspace import write_model

IDS = torch.arange(3, 27).reshape(2, 12)


def changed(model):
    """``model`` with an adapter that has learnt something, whatever it is."""
    torch.manual_seed(5)
    for name, weights in model.named_parameters():
        if weights.requires_grad:
            weights.data += 0.1 * torch.randn_like(weights) if "magnitude" not in name else 0.1
    return model.eval()


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits.float()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("family", "kind"), [*((family, "lora") for family in FAMILIES), ("llama", "dora")])
def test_an_adapter_begins_with_no_change_and_merged_is_base_and_adapter(tmp_path, family, kind):
    folder = tiny(family, tmp_path / "base")
    before = logits(load_causal(folder).eval())
    attached = adapters.attach(load_causal(folder), AdapterParameters(type=kind), task="causal", seed=7)
    torch.testing.assert_close(logits(attached.eval()), before, rtol=0, atol=1e-5)
    apart = logits(changed(attached))
    assert (apart - before).abs().max() > 0.05
    merged = adapters.merged(attached)
    assert not adapters.is_attached(merged)
    torch.testing.assert_close(logits(merged), apart, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "base"
    write_model(folder)
    return folder


def test_equal_seeds_begin_with_equal_adapters(base):
    one, same, other = (
        adapters.state(adapters.attach(load_causal(base), AdapterParameters(type="lora"), task="causal", seed=seed))
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("output", ["merged", "adapter"])
def test_what_is_saved_loads_as_what_was_measured(base, tmp_path, output):
    parameters = AdapterParameters(type="lora", output=output)
    model = changed(adapters.attach(load_causal(base), parameters, task="causal", seed=7))
    model = adapters.finished(model, parameters)
    save(model, load_tokenizer(base), tmp_path / "tuned", base=base)
    torch.testing.assert_close(logits(load_causal(tmp_path / "tuned")), logits(model), rtol=1e-5, atol=1e-5)
    assert adapted.is_adapted(tmp_path / "tuned") == (output == "adapter")
    if output == "adapter":
        assert sha256(tmp_path / "tuned/model.safetensors") == sha256(base / "model.safetensors")
        config = json.loads((tmp_path / "tuned/adapter/adapter_config.json").read_text())
        assert config["base_model_name_or_path"] is None and "peft_version" not in config
        assert json.loads((tmp_path / "tuned/adapter/base.json").read_text()) == {
            "weights": {"model.safetensors": sha256(base / "model.safetensors")}
        }
        with pytest.raises(InputProblem, match="is an adapter itself"):
            adapters.attach(load_causal(tmp_path / "tuned"), parameters, task="causal", seed=7)
        for path in (tmp_path / "tuned").rglob("*"):
            assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path


def test_a_reward_models_adapter_keeps_its_head(base, tmp_path):
    parameters = AdapterParameters(type="lora", output="adapter")
    model = changed(adapters.attach(load_reward_model(base, 3), parameters, task="classification", seed=7))
    save(adapters.finished(model, parameters), load_tokenizer(base), tmp_path / "reward", base=base)
    again = load_reward_model(tmp_path / "reward", seed=99)
    torch.testing.assert_close(logits(again), logits(model), rtol=1e-5, atol=1e-5)
    assert json.loads((tmp_path / "reward/config.json").read_text())["architectures"] == [type(again).__name__]


def test_an_adapter_for_another_base_is_refused(base, tmp_path):
    parameters = AdapterParameters(type="lora", output="adapter")
    model = adapters.attach(load_causal(base), parameters, task="causal", seed=7)
    save(model, load_tokenizer(base), tmp_path / "tuned", base=base)
    assert adapted.problem(tmp_path / "tuned") is None and adapted.problem(base) is None
    write_model(tmp_path / "other", seed=4)
    (tmp_path / "other/model.safetensors").replace(tmp_path / "tuned/model.safetensors")
    with pytest.raises(InputProblem, match="an adapter for another base"):
        load_causal(tmp_path / "tuned")
    (tmp_path / "tuned/adapter/base.json").unlink()
    with pytest.raises(InputProblem, match=r"base\.json is missing"):
        load_causal(tmp_path / "tuned")


def test_a_base_in_four_bits_gives_whole_weights_in_the_type_of_its_files(base, tmp_path):
    tuning = FineTuningParameters(adapter={"type": "qlora"})
    loaded = load_causal(base, **adapters.loading(tuning))
    assert loaded.is_quantized
    model = changed(adapters.attach(loaded, tuning.adapter, task="causal", seed=7))
    before, apart = logits(load_causal(base).eval()), logits(model)
    merged = adapters.finished(model, tuning.adapter)
    # Nearer to the quantized base with the adapter than the change is large.
    assert (logits(merged) - apart).abs().mean() < 0.3 * (before - apart).abs().mean()
    save(merged, load_tokenizer(base), tmp_path / "tuned", base=base)
    assert "quantization_config" not in (tmp_path / "tuned/config.json").read_text()
    torch.testing.assert_close(logits(load_causal(tmp_path / "tuned")), logits(merged))


def test_a_base_loaded_in_bfloat16_is_merged_in_the_type_of_its_files(base):
    model = load_causal(base, dtype=torch.bfloat16)
    merged = adapters.merged(changed(adapters.attach(model, AdapterParameters(type="lora"), task="causal", seed=7)))
    assert merged.dtype == torch.float32


def test_dora_on_stacked_experts_is_refused(tmp_path):
    with pytest.raises(InputProblem, match="use lora"):
        model = load_causal(tiny("mixtral", tmp_path / "base"))
        adapters.attach(model, AdapterParameters(type="dora"), task="causal", seed=7)


def test_modules_that_are_not_there_are_named_beside_those_that_are(base):
    parameters = AdapterParameters(type="lora", target_modules=("c_attn",))
    with pytest.raises(InputProblem, match=r"c_attn.*q_proj"):
        adapters.attach(load_causal(base), parameters, task="causal", seed=7)


def test_an_adapter_is_not_kept_where_none_is_made():
    with pytest.raises(ValueError, match=r"adapter\.type none makes none"):
        FineTuningParameters(adapter={"output": "adapter"})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sharding": "zero3"}, "zero3 is for pretraining: fine-tuning divides weights"),
        ({"sharding": "fsdp2", "adapter": {"type": "qlora"}}, "sharding fsdp2 cannot divide a base in 4 bits"),
    ],
)
def test_what_cannot_be_divided_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        FineTuningParameters(**given)
    assert FineTuningParameters(sharding="fsdp2", adapter={"type": "dora"}).sharding == "fsdp2"


def test_an_adapter_keeps_no_input_twice_and_gives_the_same_numbers(base):
    def trained(shared):
        model = adapters.attach(
            load_causal(base, dtype="bfloat16"), AdapterParameters(type="lora"), task="causal", seed=5
        )
        for module in model.modules():
            if not shared:
                vars(module).pop("_cast_input_dtype", None)
        kept = {}

        def keep(tensor):
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
            return tensor

        ids = torch.arange(3, 83).reshape(2, 40)
        with (
            torch.autocast("cpu", torch.bfloat16),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        gradients = [weights.grad for weights in model.parameters() if weights.requires_grad]
        return sum(storage.nbytes() for storage in kept.values()), loss, gradients

    (less, loss, gradients), (more, other, others) = trained(True), trained(False)
    assert loss == other and all(map(torch.equal, gradients, others))
    assert less < 0.95 * more
