"""One optimizer step: micro-batches add up to the batch."""

from __future__ import annotations

import math

import pytest
import torch
from accelerate import Accelerator

from components.pretrain.data import IGNORED, Prefetch
from components.pretrain.loss import CausalLoss
from components.pretrain.step import accumulate, update
from tests.unit.pretrain.test_chunked_loss import batch, gradients, make


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


@pytest.mark.parametrize("family", ["llama, tied", "gpt2"])
@pytest.mark.parametrize("micro_batch", [4, 5])
def test_one_batch_of_32_is_eight_of_4(accelerator, micro_batch, family):
    model = make(family)
    module = CausalLoss(model, z_loss=1e-3)
    inputs, labels = batch(32)
    # Labels that are ignored unevenly: a mean of means would differ.
    labels[:4, 3:] = IGNORED
    whole, _ = accumulate(accelerator, module, inputs, labels)
    expected = gradients(model)
    parts, _ = accumulate(accelerator, module, inputs, labels, micro_batch=micro_batch)
    assert parts == pytest.approx(whole, rel=1e-6)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6 * expected[name].abs().max().item())


def test_gradient_checkpointing_changes_no_gradient(accelerator):
    model = make("llama, tied")
    inputs, labels = batch()
    accumulate(accelerator, CausalLoss(model), inputs, labels)
    expected = gradients(model)
    model.activation_checkpointing_enable({"use_reentrant": False})
    calls = []
    model.model.layers[0].mlp.register_forward_hook(lambda *_: calls.append(1))
    accumulate(accelerator, CausalLoss(model).train(), inputs, labels)
    assert len(calls) >= 2, "the layer was not computed again"
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name])


def test_a_gradient_that_is_not_finite_changes_nothing(accelerator):
    model = make("llama, tied")
    optimizer = torch.optim.AdamW(model.parameters())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, math.inf)
    assert not math.isfinite(update(accelerator, model, optimizer, max_grad_norm=1.0))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_prefetch_reads_each_step_once_and_draws_nothing():
    read = []

    def reading(step: int) -> int:
        read.append(step)
        if step == 4:
            raise OSError("gone")
        return step * 10

    state = torch.get_rng_state()
    with Prefetch(reading, 6) as data:
        assert [data.get(step) for step in range(4)] == [0, 10, 20, 30]
        with pytest.raises(OSError, match="gone"):
            data.get(4)
        assert data.get(5) == 50
    assert sorted(set(read)) == list(range(6)) and max(read) == 5
    assert torch.equal(state, torch.get_rng_state())
