"""What another number of processes leaves as it was, and what keeps a training to its number."""

from __future__ import annotations

import csv

import pytest
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MixtralConfig

from components.pretrain.parallelism import bound_to_processes
from components.pretrain.training_state import LoopState
from core.errors import InputProblem
from tests.unit.pretrain import tiny

SMALL = {"vocab_size": 16, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "num_key_value_heads": 2}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "reasons"),
    [
        (LlamaConfig(**SMALL), []),
        (LlamaConfig(**SMALL, attention_dropout=0.1), ["(model.layers.0.self_attn.attention_dropout of the model)"]),
        (GPT2Config(vocab_size=16, n_embd=16, n_layer=1, n_head=2), ["(transformer.drop.p of the model): set it to 0"]),
        (MixtralConfig(**SMALL, num_local_experts=2), []),
        (
            MixtralConfig(**SMALL, num_local_experts=2, output_router_logits=True, router_jitter_noise=0.1),
            ["draws dropout or noise of its own", "the load-balancing loss is one of each micro-batch"],
        ),
    ],
)
def test_what_a_process_draws_or_weighs_by_itself_is_found(config, reasons):
    found = bound_to_processes(AutoModelForCausalLM.from_config(config))
    assert len(found) == len(reasons) and all(map(str.__contains__, found, reasons))


def test_such_a_model_is_refused_before_its_first_step(workspace):
    with pytest.raises(InputProblem, match=r"compute\.pretrain\.min_nodes: each process draws dropout .*leave min_nod"):
        tiny.pretrain(workspace, elastic=True)
    assert not tiny.events(workspace, "progress")


@pytest.mark.slow
def test_fewer_processes_cut_the_rising_batches_of_all(workspace):
    """One of two processes takes two sequences more at a time, as both would."""
    changes = {"devices": 2, "per_device_batch_size": 3, "batch_ramp_start": 2, "batch_ramp_tokens": 320}
    context = tiny.pretrain(workspace, **changes, steps=8, log_every=1, evaluate_every=8)
    with open(workspace / "reports/pretrain/curve.csv") as file:
        sequences = [int(row["tokens"]) // tiny.PARAMETERS["seq_length"] for row in csv.DictReader(file)]
    sizes = [after - before for before, after in zip([0, *sequences], sequences, strict=False)]
    assert sizes == [2, 2, 2, 4, 6, 6, 6, 6], "with multiples of one process it would be 2, 2, 3"
    assert context.environment["processes"] == "1"


def test_the_numbers_of_processes_are_said_with_their_steps():
    progress = LoopState()
    progress.computed_by(2)
    assert progress.said_processes() == "2"
    for step, processes in ((40, 1), (60, 1), (80, 2)):
        progress.step = step
        progress.computed_by(processes)
    assert progress.said_processes() == "2, from step 41 on 1, from step 81 on 2"
