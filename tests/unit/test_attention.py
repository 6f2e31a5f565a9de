"""Attention in blocks: torch's own answers and gradients, within what bfloat16 rounds; and when it is not used."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from components import attention


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def drawn(tokens: int, heads: int = 4, key_heads: int = 4, dtype: torch.dtype = torch.bfloat16) -> list[torch.Tensor]:
    """A query, a key and a value of two sequences, [2, heads, tokens, 16]."""
    shapes = [(2, number, tokens, 16) for number in (heads, key_heads, key_heads)]
    return [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]


def attend(query, key, value, mask=None, **options):
    module = SimpleNamespace(is_causal=True, num_key_value_groups=query.shape[1] // key.shape[1])
    return attention.attend(module, query, key, value, mask, **options)[0]


def reference(query, key, value, mask=None):
    """torch's attention in double precision, and its gradients."""
    exact = [each.detach().double().requires_grad_() for each in (query, key, value)]
    output = F.scaled_dot_product_attention(*exact, attn_mask=mask, is_causal=mask is None, enable_gqa=True)
    return output.transpose(1, 2), exact


def causal(tokens: int) -> torch.Tensor:
    return torch.ones(tokens, tokens, dtype=torch.bool).tril()[None, None]


def documents(tokens: int) -> torch.Tensor:
    """Two documents in each sequence, which end at different tokens; none sees the other."""
    ends = torch.tensor([tokens // 3, tokens // 2])
    number = torch.arange(tokens)[None] >= ends[:, None]
    return (number[:, :, None] == number[:, None, :])[:, None] & causal(tokens)


@pytest.mark.parametrize("tokens", [2, 128, 129, 300])  # of one block, and of several
@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("mask", [None, documents])
def test_output_and_gradients_are_those_of_torch(tokens, key_heads, mask):
    query, key, value = drawn(tokens, key_heads=key_heads)
    mask = mask and mask(tokens)
    output = attend(query, key, value, mask)
    expected, exact = reference(query, key, value, mask)
    upstream = torch.randn_like(output)
    output.backward(upstream)
    expected.backward(upstream.double())
    assert output.grad_fn.name() != expected.grad_fn.name()
    assert relative(output, expected) < 0.01
    for ours, theirs in zip((query, key, value), exact, strict=True):
        assert relative(ours.grad, theirs.grad) < 0.015


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours.detach().double() - theirs.detach()).norm() / theirs.detach().norm()).item()


def test_no_query_sees_what_comes_later():
    query, key, value = drawn(200)
    before = attend(query, key, value)[:, :150]
    with torch.no_grad():
        key[:, :, 150:] = 100
        value[:, :, 150:] = 100
    assert torch.equal(attend(query, key, value)[:, :150], before)


def test_a_row_of_padding_that_may_look_nowhere_is_a_number():
    query, key, value = drawn(8)
    mask = causal(8).repeat(2, 1, 1, 1)
    mask[0, :, :, :3] = False  # padding at the left
    output = attend(query, key, value, mask)
    output.sum().backward()
    for each in (output, query.grad, key.grad, value.grad):
        assert each.isfinite().all()


@pytest.mark.parametrize("case", ["float32", "no gradient", "dropout", "additive mask", "one query", "long"])
def test_what_it_is_not_for_goes_to_torchs(case, monkeypatch):
    went = []
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *given, **_: went.append(given) or (None, None))
    query, key, value = drawn(8, dtype=torch.float32 if case == "float32" else torch.bfloat16)
    if case == "long":
        monkeypatch.setattr(attention, "KEPT_BYTES", 2 * 4 * 8 * 8 * 2 - 1)
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bfloat16) if case == "additive mask" else None
    with torch.set_grad_enabled(case != "no gradient"):
        attend(query[:, :, :1] if case == "one query" else query, key, value, mask, dropout=0.1 * (case == "dropout"))
    assert len(went) == 1


def test_a_model_attends_so_only_meanwhile_and_nothing_of_it_is_saved(tmp_path):
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
    ids = torch.arange(40)[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        usual = model(ids).logits
        with attention.in_blocks(model):
            blocks = model(ids).logits
            model.save_pretrained(tmp_path)
        again = model(ids).logits
    assert not torch.equal(blocks, usual) and relative(blocks, usual.double()) < 0.02
    assert torch.equal(again, usual)
    assert attention.NAME not in (tmp_path / "config.json").read_text()
