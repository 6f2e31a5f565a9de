"""The chunked loss is the model's own, gradients included, for every kind of head."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModelForCausalLM

from components.pretrain import loss
from components.pretrain.data import IGNORED, document_positions
from components.pretrain.loss import CausalLoss, masks_documents

VOCABULARY = 97
SIZES = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=64,
    pad_token_id=1,
    bos_token_id=0,
    eos_token_id=0,
)
MIXTURE = {"num_local_experts": 4, "num_key_value_heads": 2, "output_router_logits": True}
GPT2 = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
FAMILIES = {
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, untied": ("llama", {"tie_word_embeddings": False}),
    "gemma2, capped logits": ("gemma2", {"final_logit_softcapping": 2.0, "num_key_value_heads": 2, "head_dim": 16}),
    "granite, divided logits": ("granite", {"logits_scaling": 3.0}),
    "cohere, multiplied logits": ("cohere", {"logit_scale": 0.3}),
    "phi, head with bias": ("phi", {"resid_pdrop": 0.0}),
    "gpt2": ("gpt2", GPT2),
    "mixtral, balanced experts": ("mixtral", MIXTURE),
    "gpt_oss, masks made here": ("gpt_oss", MIXTURE | {"head_dim": 16, "sliding_window": 4}),
}


def make(family: str) -> torch.nn.Module:
    model_type, options = FAMILIES[family]
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SIZES, **options))


def batch(sequences: int = 4, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(2, VOCABULARY, (sequences, 41), generator=generator)
    inputs, labels = tokens[:, :-1], tokens[:, 1:].clone()
    labels[0, :7] = IGNORED
    return inputs, labels


def gradients(model) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Several chunks, the last one not full."""
    monkeypatch.setitem(loss.CHUNK_LOGITS, "cpu", 64 * VOCABULARY)


@pytest.mark.parametrize("z_loss", [0.0, 0.01])
@pytest.mark.parametrize("family", FAMILIES)
def test_agrees_with_the_logits_of_the_model(family, z_loss):
    model = make(family)
    module = CausalLoss(model, z_loss=z_loss)
    assert module.chunked
    inputs, labels = batch()
    count = (labels != IGNORED).sum()
    objective, total = module(inputs, labels, weight=1 / count)
    objective.backward()
    ours = gradients(model)

    output = model(input_ids=inputs, use_cache=False)
    logits = output.logits.flatten(0, 1)
    cross_entropy = F.cross_entropy(logits, labels.flatten())
    expected = cross_entropy + z_loss * logits.logsumexp(-1).square()[labels.flatten() != IGNORED].mean()
    if FAMILIES[family][1].get("output_router_logits"):
        assert output.aux_loss > 0
        expected = expected + model.config.router_aux_loss_coef * output.aux_loss
    expected.backward()
    theirs = gradients(model)
    torch.testing.assert_close(total / count, cross_entropy.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(objective, expected, rtol=1e-5, atol=0)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max().item())
    losses = module.token_losses(inputs, labels)
    torch.testing.assert_close(losses.sum(), total, rtol=1e-5, atol=0)
    assert losses[0, :7].eq(0).all()


def test_never_holds_more_logits_than_a_chunk(monkeypatch):
    shapes = []
    real = loss._gradient

    def spy(logits, *others):
        shapes.append(tuple(logits.shape))
        return real(logits, *others)

    monkeypatch.setattr(loss, "_gradient", spy)
    module = CausalLoss(make("llama, untied"))
    module(*batch())
    assert shapes == [(64, VOCABULARY), (64, VOCABULARY), (32, VOCABULARY)]


def test_a_head_of_another_form_is_left_to_the_model():
    model = make("llama, untied")
    model.lm_head.register_forward_hook(lambda module, arguments, output: output.sin())
    module = CausalLoss(model)
    assert not module.chunked
    inputs, labels = batch()
    expected = F.cross_entropy(model(input_ids=inputs).logits.flatten(0, 1), labels.flatten(), reduction="sum")
    objective, total = module(inputs, labels)
    torch.testing.assert_close(objective.detach(), total)
    torch.testing.assert_close(total, expected.detach())
    torch.testing.assert_close(module.token_losses(inputs, labels).sum(), expected.detach())


def test_autocast_to_bfloat16_keeps_the_sum_in_float32():
    model = make("llama, tied")
    module = CausalLoss(model)
    inputs, labels = batch()
    with torch.autocast("cpu", torch.bfloat16):
        objective, total = module(inputs, labels, weight=1 / labels.numel())
    objective.backward()
    half = gradients(model)
    objective, exact = module(inputs, labels, weight=1 / labels.numel())
    objective.backward()
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, exact, rtol=2e-3, atol=0)
    for name, gradient in gradients(model).items():
        assert half[name].dtype == torch.float32
        assert F.cosine_similarity(half[name].flatten(), gradient.flatten(), dim=0) > 0.99, name


@pytest.mark.parametrize(("family", "who"), [("llama, tied", "model"), ("gpt_oss, masks made here", "here")])
def test_documents_do_not_see_each_other_and_begin_at_their_end_token(family, who):
    inputs = torch.tensor([[5, 6, 0, 7, 8, 0, 0, 9]])
    assert document_positions(inputs, start=0).tolist() == [[0, 1, 0, 1, 2, 0, 0, 1]]
    model = make(family).eval()
    assert masks_documents(model) == who
    module = CausalLoss(model, masks=who == "here")
    labels = torch.tensor([[6, 0, 7, 8, 0, 0, 9, 4]])
    together = module.token_losses(inputs, labels, document_positions(inputs, start=0))[0]
    alone = torch.cat(
        [module.token_losses(inputs[:, part], labels[:, part])[0] for part in (slice(0, 2), slice(2, 5), slice(6, 8))]
    )
    torch.testing.assert_close(torch.cat([together[:5], together[6:]]), alone)


def test_a_model_without_positions_cannot_mask_documents():
    torch.manual_seed(0)
    assert not masks_documents(AutoModelForCausalLM.from_config(AutoConfig.for_model("bloom", n_head=2, **SIZES)))
