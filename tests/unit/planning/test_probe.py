"""What a processor is measured with: as much of the real model as takes a second or a few."""

from __future__ import annotations

import pytest

from components.planning.probe import BYTES_PER_PARAMETER, STEP_FLOPS_PER_THREAD, _cut
from components.planning.shapes import SMALLEST
from components.pretrain.presets import configuration


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_model_of_which_one_block_is_too_large_is_replaced_by_a_small_one(optimizer):
    config, context, rows = _cut(configuration("llama3-70b"), 8192, 16, optimizer, threads=2, memory=12e9)
    # Tokens of which a step of 6 FLOPs a weight takes about as long as one may.
    assert context == pytest.approx(2 * STEP_FLOPS_PER_THREAD / (6 * SMALLEST), rel=0.1)
    assert config.hidden_size < 1024 and rows == 1


def test_blocks_are_left_out_until_the_memory_and_the_time_of_a_step_suffice():
    config = configuration("llama3-8b")
    blocks = config.num_hidden_layers
    small, context, rows = _cut(config, 64, 1, "adamw", threads=8, memory=30e9)
    assert 1 <= small.num_hidden_layers < blocks and (small.hidden_size, context, rows) == (4096, 64, 1)
    assert config.num_hidden_layers == blocks, "the plan's own is as it was"
    none, *_ = _cut(config, 64, 1, "adamw", threads=8, memory=BYTES_PER_PARAMETER * SMALLEST * 1.1)
    assert none.hidden_size < 4096
