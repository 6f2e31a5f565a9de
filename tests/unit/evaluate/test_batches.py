"""``batch_size: auto`` of evaluate: the rule, and what is done where it counted too few bytes."""

import pytest
import torch

from components.evaluate import batches
from components.generation import answers
from tests.unit.finetuning.workspace import save_model


@pytest.mark.parametrize(("memory", "one", "rows"), [(4e9, 1e8, 8), (4e9, 6.3e7, 8), (4e9, 1.1e9, 1), (1e12, 1e3, 256)])
def test_a_quarter_of_the_memory_in_powers_of_two(memory, one, rows):
    assert batches.fitting(memory, one) == rows


def test_a_row_is_keys_and_values_activations_and_scores(tmp_path):
    model, tokenizer = save_model(tmp_path, ["alpha beta"], layers=3)
    plain = 4 * (2 * 32 * 3 + 3 * 64 + 6 * 32)
    assert batches.row(model, 10, scored=False) == 10 * plain
    assert batches.row(model, 10, scored=True) == 10 * (plain + 12 * len(tokenizer))


def test_it_is_halved_while_the_memory_runs_out_and_the_answers_are_the_same(tmp_path):
    model, tokenizer = save_model(tmp_path, ["alpha beta gamma"])
    prompts, tried = ["alpha", "beta", "gamma", "alpha beta", "beta gamma"], []
    whole = answers(model, tokenizer, prompts, max_new_tokens=4)

    def small(module, arguments, options):
        tried.append(len(options["input_ids"]))
        if len(options["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(small, with_kwargs=True)

    def run(rows):
        return answers(model, tokenizer, prompts, max_new_tokens=4, batch_size=rows)

    assert batches.halving(8, run) == whole
    assert tried[:3] == [5, 4, 2]
    with pytest.raises(torch.OutOfMemoryError):
        batches.halving(1, lambda rows: small(None, (), {"input_ids": [0] * 3}))
