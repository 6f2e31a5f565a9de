"""The launch files are ones that the pinned accelerate takes, checked by its own parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType

FOLDER = Path(__file__).parents[3] / "deploy/accelerate"
KINDS = {
    "ddp": DistributedType.MULTI_GPU,
    "fsdp2": DistributedType.FSDP,
    "zero3": DistributedType.DEEPSPEED,
    "tensor_parallel": DistributedType.FSDP,
    "context_parallel": DistributedType.FSDP,
}


def test_each_file_is_known():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_takes_the_file_and_every_key_of_it(name):
    # It refuses a key that it does not know.
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert isinstance(config, ClusterConfig)
    assert config.distributed_type == KINDS[name]
    options = {action.dest for action in launch_command_parser()._actions}
    assert {key for section in (config.fsdp_config, config.parallelism_config) for key in section} <= options
    sizes = [value for key, value in config.parallelism_config.items() if key.endswith("_size")]
    if sizes:
        product = 1
        for size in sizes:
            product *= size
        assert product == config.num_processes
