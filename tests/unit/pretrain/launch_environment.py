"""What `accelerate launch` makes of its arguments, without launching anything."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from components.harness import launch


def launch_environment(given: Sequence[str]) -> tuple[Namespace, dict[str, str]]:
    """Its arguments with those of the file, and the environment that it gives its processes."""
    arguments, file, _ = _validate_launch_command(launch_command_parser().parse_args([*given, "-m", "some.module"]))
    if not arguments.use_deepspeed:
        return arguments, prepare_multi_gpu_env(arguments)
    arguments.deepspeed_fields_from_accelerate_config = ",".join(file.deepspeed_config)
    _, environment = prepare_deepspeed_cmd_env(arguments)
    return arguments, environment


def launch_variables(sharding: str, processes: int) -> dict[str, str]:
    """What `accelerate launch` adds to the environment of its processes, as the harness calls it."""
    _, made = launch_environment(launch.accelerate_arguments(sharding, processes))
    return {name: value for name, value in made.items() if os.environ.get(name) != value}
