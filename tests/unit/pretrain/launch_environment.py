"""What `accelerate launch` makes of its arguments, without launching anything."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env


def launch_environment(given: Sequence[str]) -> tuple[Namespace, dict[str, str]]:
    """Its arguments with those of the file, and the environment that it gives its processes."""
    arguments, file, _ = _validate_launch_command(launch_command_parser().parse_args([*given, "-m", "some.module"]))
    if not arguments.use_deepspeed:
        return arguments, prepare_multi_gpu_env(arguments)
    arguments.deepspeed_fields_from_accelerate_config = ",".join(file.deepspeed_config)
    _, environment = prepare_deepspeed_cmd_env(arguments)
    return arguments, environment
