"""What the processes of stages share."""

import json

import pytest

import components
from components.harness import libraries


@pytest.mark.parametrize(
    ("parameters", "config", "unused"),
    [
        ({}, {}, {"deepspeed", "bitsandbytes"}),
        ({"sharding": "ddp", "adapter": {"type": "lora"}}, {}, {"deepspeed", "bitsandbytes"}),
        ({"sharding": "zero3"}, {}, {"bitsandbytes"}),
        ({"adapter": {"type": "qlora"}}, {}, {"deepspeed"}),
        ({}, {"quantization_config": {"quant_method": "bitsandbytes"}}, {"deepspeed"}),
    ],
)
def test_libraries_that_a_stage_has_no_use_for_are_not_imported(tmp_path, parameters, config, unused):
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = libraries.unused(parameters, {"base": str(tmp_path), "corpus": str(tmp_path / "no")})
    assert set(found) == {"boto3", *unused}


def test_each_stage_names_what_it_shares_and_a_stage_of_one_s_own_shares_what_all_need():
    for stage in components.stages():
        assert libraries.of_stages([stage]), stage
    assert libraries.of_stages(["a_stage_of_their_own"]) == []
    both = libraries.of_stages(["pretrain", "evaluate@base"])
    assert len(both) == len(set(both)) and both[: len(libraries.TRAINING)] == list(libraries.TRAINING)
