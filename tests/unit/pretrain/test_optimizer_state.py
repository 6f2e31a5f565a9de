"""An optimizer's state survives the way through safetensors and JSON to the last bit."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from components import optimizers
from components.pretrain import optimizer_state, training_state


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.hidden = nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(torch.tanh(self.hidden(self.embedding(ids))))


def adamw_with_moments_of_another_type(model):
    """Weights of bfloat16 with moments of float32, which ``Optimizer.load_state_dict`` would round."""
    optimizer = torch.optim.AdamW(model.to(torch.bfloat16).parameters(), lr=1e-3, fused=False)
    for parameter in model.parameters():
        moments = {key: torch.rand(parameter.shape) for key in ("exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = {"step": torch.tensor(3.0), **moments}
    return optimizer


MAKERS = {
    "muon and adamw": lambda model: optimizers.build(model, "muon"),
    "adamw": lambda model: optimizers.build(model, "adamw"),
    "muon": lambda model: optimizers.Muon([model.hidden.weight]),
    "another type": adamw_with_moments_of_another_type,
    "sgd, plain values": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
}


def step(model, optimizer, n):
    torch.manual_seed(n)
    ids = torch.randint(0, 11, (4, 5))
    model(ids).float().logsumexp(-1).mean().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("kind", MAKERS)
def test_the_state_comes_back_to_the_last_bit(kind, tmp_path):
    torch.manual_seed(0)
    model = Model()
    optimizer = MAKERS[kind](model)
    if kind != "another type":
        for n in range(3):
            step(model, optimizer, n)
    optimizer.param_groups[0]["lr"] = 0.1 + 0.2
    saved = optimizer_state.tensors(model, optimizer)
    save_file(saved, tmp_path / "optimizer.safetensors")
    values = json.loads(json.dumps(optimizer_state.values(model, optimizer)))
    assert all(not name.startswith("head.") for name in saved), "a tied weight has one state"

    other = copy.deepcopy(model)
    resumed = optimizers.build(other, "adamw") if kind == "adamw" else MAKERS[kind](other)
    loaded = load_file(tmp_path / "optimizer.safetensors")
    optimizer_state.restore(other, resumed, values, ((name, loaded[name]) for name in sorted(loaded)))

    found = optimizer_state.tensors(other, resumed)
    assert found.keys() == saved.keys()
    for name, tensor in saved.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    assert optimizer_state.values(other, resumed) == optimizer_state.values(model, optimizer)
    if kind != "another type":
        for n in range(3, 6):
            step(model, optimizer, n)
            step(other, resumed, n)
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.equal(mine, theirs)


def test_other_groups_are_refused():
    model = Model()
    values = optimizer_state.values(model, optimizers.build(model, "muon"))
    with pytest.raises(ValueError, match="groups of parameters"):
        optimizer_state.restore(model, torch.optim.SGD(model.parameters()), values, [])


def test_the_random_states_survive_json():
    import random

    import numpy as np

    random.gauss(0, 1)
    np.random.normal()
    state = json.loads(json.dumps(training_state.capture_random_state()))
    drawn = (random.gauss(0, 1), random.random(), np.random.normal(), torch.rand(3).tolist())
    training_state.restore_random_state(state)
    assert (random.gauss(0, 1), random.random(), np.random.normal(), torch.rand(3).tolist()) == drawn
