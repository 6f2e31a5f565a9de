"""What the process that does a stage's work settles before it begins."""

import json
import sys

import pytest

from components.harness import worker


@pytest.mark.parametrize(
    ("parameters", "config", "hidden"),
    [
        ({}, {}, {"deepspeed", "bitsandbytes"}),
        ({"sharding": "ddp", "adapter": {"type": "lora"}}, {}, {"deepspeed", "bitsandbytes"}),
        ({"sharding": "zero3"}, {}, {"bitsandbytes"}),
        ({"adapter": {"type": "qlora"}}, {}, {"deepspeed"}),
        ({}, {"quantization_config": {"quant_method": "bitsandbytes"}}, {"deepspeed"}),
    ],
)
def test_libraries_that_a_stage_has_no_use_for_are_not_imported(monkeypatch, tmp_path, parameters, config, hidden):
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(sys, "modules", {})
    worker._hide_unused({"parameters": parameters, "inputs": {"base": str(tmp_path), "corpus": str(tmp_path / "no")}})
    assert set(sys.modules) == {"boto3", *hidden} and set(sys.modules.values()) == {None}
