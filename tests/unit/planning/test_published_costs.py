"""What published trainings took, given back from their sizes and devices."""

import pytest
from transformers import AutoConfig

from components.planning import flops
from components.planning.activations import Activations
from components.planning.decoder import Decoder, read
from components.planning.devices import DEVICES
from components.planning.estimate import Training, estimate
from components.planning.memory import per_device

NOTHING_KEPT = Activations(context=1, block=0, outside=0, scores=1, block_input=0, blocks=0)


def decoder_of(parameters: int) -> Decoder:
    """A decoder of which nothing but the number of parameters is known."""
    return Decoder(
        name="published", model_type="llama", parameters={"feed_forward": parameters, "norms": 0}, active=parameters,
        products=parameters, hidden=parameters, largest_block=0, norms_per_block=0, windows=(), score_width=0,
        value_width=0, heads=1, key_value_heads=1, width=1, vocabulary=1000,
    )  # fmt: skip


def plan(parameters: int, tokens: float, device: str, precision: str, **settings) -> dict:
    return estimate(
        Training(
            name="published", decoder=decoder_of(parameters), activations=NOTHING_KEPT, tokens=int(tokens),
            device_name=device, device=DEVICES[device], precision=precision, optimizer="adamw",
            capacity=DEVICES[device].memory, **settings,
        )
    )  # fmt: skip


def test_a_model_of_1b_parameters_in_float32():
    """4 GB to store. Of the 24 GB that are quoted for training it (https://huggingface.co/docs/transformers/v4.20.1/en/
    perf_train_gpu_one: 4 bytes a parameter of weights, 4 of gradients, 8 of moments, 8 of activations and temporary
    memory), 16 do not depend on the batch."""
    decoder = decoder_of(10**9)
    memory = per_device(decoder, NOTHING_KEPT, "ddp", count=1, micro_batch=1)
    assert (memory.weights, memory.gradients, memory.optimizer) == (4e9, 4e9, 8e9)
    assert memory.fixed == 16e9


def test_a_real_model_of_1b_parameters_trains_in_about_24_gb():
    """gpt2-xl has 1.56B: 24 bytes a parameter are 37 GB. With one sequence of its 1,024 tokens 38 GB are planned."""
    from components.planning import activations
    from components.pretrain.presets import configuration

    config = configuration("gpt2-xl")
    decoder = read(config)
    memory = per_device(decoder, activations.measure(config, 1024), "ddp", count=1, micro_batch=1)
    assert memory.total == pytest.approx(24 * decoder.total, rel=0.15)


def test_deepseek_v3():
    """arXiv:2412.19437, table 1: 2.664M H800 hours for pretraining on 14.8T tokens, 2.788M and $5.576M in all at $2.

    With 37B active parameters this is an MFU of 17.3 % of the float8 peak, or 34.6 % of the bfloat16 one, which is what
    well-tuned trainings reach: the paper's figures hold together.
    """
    spent = flops.training_flops(37e9, 14.8e12)
    reached = spent / (2.664e6 * 3600)
    mfu = reached / DEVICES["h800"].peak["fp8"]
    assert mfu == pytest.approx(0.173, abs=0.001)
    assert reached / DEVICES["h800"].peak["bf16"] == pytest.approx(0.346, abs=0.002)
    planned = plan(37 * 10**9, 14.8e12, "h800", "fp8", count=2048, mfu=mfu, price=2.0)
    assert planned["time"]["device_hours"] == pytest.approx(2.664e6, rel=1e-6)
    # 119K hours of context extension and 5K of post-training come on top.
    assert planned["cost"]["money"] + (119e3 + 5e3) * 2 == pytest.approx(5.576e6, rel=0.001)
    assert planned["time"]["hours"] / 24 < 61  # "in less than two months"


def test_deepseek_v3s_parameters():
    """671B parameters, 37B of them active, counted on the configuration that transformers ships."""
    decoder = read(AutoConfig.for_model("deepseek_v3"))
    assert decoder.total == pytest.approx(671e9, rel=0.001)
    assert decoder.active == pytest.approx(37e9, rel=0.02)


def test_llama_3_405b():
    """The model card says 30.84M H100 hours; arXiv:2407.21783 says 15.6T tokens, 3.8e25 FLOPs, an MFU of 38 to 43 % and
    more than 90 % effective training time. At the lower end of both, the hours come out."""
    planned = plan(405 * 10**9, 15.6e12, "h100", "bf16", count=16384, mfu=0.38, goodput=0.9)
    assert planned["compute"]["flops_6nd"] == pytest.approx(3.8e25, rel=0.01)
    assert planned["time"]["device_hours"] == pytest.approx(30.84e6, rel=0.02)
    least = plan(405 * 10**9, 15.6e12, "h100", "bf16", count=16384, mfu=0.43)
    assert least["time"]["device_hours"] < 30.84e6
    # What is not the device's power is stated: 700 W (the model card), PUE 1.1.
    assert planned["cost"]["energy_kilowatt_hours"] == pytest.approx(30.84e6 * 0.7 * 1.1, rel=0.02)


def test_llama_3_405bs_attention():
    """At 8,192 tokens the exact count lies a few percent over 6ND: attention adds, the embedding's look-up is free."""
    config = AutoConfig.for_model(
        "llama", hidden_size=16384, intermediate_size=53248, num_hidden_layers=126, num_attention_heads=128,
        num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=False, max_position_embeddings=8192,
    )  # fmt: skip
    decoder = read(config)
    assert decoder.total == pytest.approx(405.9e9, rel=0.001)
    assert flops.training(decoder, 8192, 1) / flops.training_flops(decoder.active, 1) == pytest.approx(1.036, abs=0.002)


def test_checkpoints_and_data_on_disk():
    disk = plan(10**9, 20e9, "h100", "bf16", count=8)["disk"]
    assert disk["data_bytes"] == 40e9  # two bytes a token with a vocabulary below 65,537
    assert disk["checkpoint_bytes"] == 12e9 and disk["checkpoints_bytes"] == 36e9 and disk["model_bytes"] == 4e9
