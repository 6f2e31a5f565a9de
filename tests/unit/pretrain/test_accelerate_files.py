"""The launch files are ones that the pinned accelerate takes, checked by its own parser."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType

from components.harness import launch
from components.pretrain.parameters import PretrainParameters
from tests.unit.pretrain.launch_environment import launch_environment

FOLDER = Path(__file__).parents[3] / "components/harness/accelerate"
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


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("nodes", [1, 2])
def test_what_the_harness_says_goes_before_what_the_file_says(name, nodes):
    PretrainParameters(sharding=name, devices=8, nodes=nodes, optimizer="adamw")
    machines = {launch.MAIN_ADDRESS: "127.0.0.1:29999", launch.NODE_RANK: str(nodes - 1)}
    arguments, environment = launch_environment(launch.accelerate_arguments(name, 8, nodes, machines))
    assert (arguments.num_processes, arguments.num_machines) == (8 * nodes, nodes)
    assert (environment.get("ACCELERATE_USE_FSDP") == "true") == (name not in ("ddp", "zero3"))
    assert (environment.get("ACCELERATE_USE_DEEPSPEED") == "true") == (name == "zero3")
    sizes = [
        int(value) for key, value in environment.items() if key.startswith("PARALLELISM_CONFIG_") and "SIZE" in key
    ]
    assert math.prod(sizes) == (8 * nodes if name.endswith("_parallel") else 1)
    if nodes == 2:
        assert (arguments.master_addr, arguments.master_port, arguments.node_rank) == ("127.0.0.1", "29999", 1)
