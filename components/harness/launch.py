"""Starts the processes of a stage that needs several: `accelerate launch` with a file of ``accelerate/``.

Without GPUs torchrun is called itself, and accelerate finds the ranks by its environment: `accelerate launch --cpu`
without MPI always starts one process.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FILES = Path(__file__).resolve().parent / "accelerate"
LAUNCHER = "STEMMA_LAUNCHER"  # process id of the launcher, for the ranks
NODE_RANK = "STEMMA_NODE_RANK"  # number of this machine, where a stage runs on several
MAIN_ADDRESS = "STEMMA_MAIN_ADDRESS"  # HOST:PORT of machine 0, on which all machines meet


def problems(stage: str, parameters: Mapping[str, Any], processes: int, environment: Mapping[str, str]) -> list[str]:
    """What keeps ``processes`` from being started here as the stage's parameters ask, each with its remedy.

    Args:
        parameters: the stage's; ``nodes`` and ``sharding`` are looked at.
        environment: this process's.
    """
    nodes = parameters.get("nodes", 1)
    found = _meeting_problems(nodes, environment) if nodes > 1 else []
    return [*found, *sharding_problems(stage, parameters, processes, "this machine", _gpus)]


def sharding_problems(
    stage: str, parameters: Mapping[str, Any], processes: int, machine: str, gpus_of: Callable[[], int]
) -> list[str]:
    """What keeps ``processes`` from dividing a model as the stage's ``sharding`` asks.

    Args:
        machine: what has the GPUs, in words.
        gpus_of: how many it has; asked only where it matters.
    """
    nodes, sharding = parameters.get("nodes", 1), parameters.get("sharding", "ddp")
    if sharding == "ddp" or processes == 1:
        return []
    found = []
    where = f"params.yaml: {stage}.sharding: {sharding}"
    degree = _degree(sharding)
    # accelerate has to have at least two groups of the processes that share products to divide weights among.
    least = 2 * degree if sharding == "tensor_parallel" else degree
    if processes % degree or processes < least:
        found.append(f"{where}: needs {least} processes or a larger multiple of {degree}, and there are {processes}")
    if sharding == "zero3" and importlib.util.find_spec("deepspeed") is None:
        found.append(f"{where}: needs DeepSpeed; install Stemma with it: pip install 'stemma-llm[deepspeed]'")
    gpus = gpus_of()
    if gpus == 0:
        found.append(f"{where}: divides the model among GPUs, and {machine} has none; make it ddp")
    elif gpus < processes // nodes:
        found.append(f"{where}: needs {processes // nodes} GPUs, one a process, and {machine} has {gpus}")
    return found


def start(
    program: Sequence[str], sharding: str, *, local: int, nodes: int = 1, environment: Mapping[str, str] = os.environ
) -> None:
    """Become the launcher of ``local`` processes of ``program`` on this machine; returns when all have ended well.

    Args:
        program: what `python` is given: ``-m``, a module and its arguments.
        sharding: name of the launch file.
    """
    os.environ[LAUNCHER] = str(os.getpid())
    if _gpus() or sharding != "ddp":
        accelerate(accelerate_arguments(sharding, local, nodes, environment), program)
    else:
        _torchrun(program, local, nodes, environment)


def accelerate_arguments(
    sharding: str, local: int, nodes: int = 1, environment: Mapping[str, str] = os.environ
) -> list[str]:
    """The launch file, and what the stage's parameters say instead of it."""
    processes, degree = local * nodes, _degree(sharding)
    found = ["--config_file", str(FILES / f"{sharding}.yaml"), "--num_processes", str(processes)]
    found += ["--num_machines", str(nodes)]
    if nodes > 1:
        host, port, rank = _meeting(environment)
        found += ["--machine_rank", rank, "--main_process_ip", host, "--main_process_port", port, "--same_network"]
    else:
        found += ["--main_process_port", "0"]  # any free one
    if degree > 1:
        found += ["--parallelism_config_dp_shard_size", str(processes // degree)]
    return found


def leave_group() -> None:
    """End this process's part of the process group; a process that exits with it alive may abort in its threads.

    Source: https://docs.pytorch.org/docs/stable/distributed.html#shutdown
    """
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def accelerate(arguments: Sequence[str], program: Sequence[str]) -> None:
    """`accelerate launch`, in this process."""
    from accelerate.commands.launch import launch_command, launch_command_parser

    launch_command(launch_command_parser().parse_args([*arguments, *program]))


def _torchrun(program: Sequence[str], local: int, nodes: int, environment: Mapping[str, str]) -> None:
    from torch.distributed.run import main

    if nodes == 1:
        meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    else:
        host, port, rank = _meeting(environment)
        meeting = [f"--nnodes={nodes}", f"--node-rank={rank}", f"--master-addr={host}", f"--master-port={port}"]
    main([f"--nproc-per-node={local}", *meeting, *program])


def _degree(sharding: str) -> int:
    """Processes that read the same sequences, as the launch file says."""
    config = YAML(typ="safe", pure=True).load(FILES / f"{sharding}.yaml").get("parallelism_config", {})
    return int(config.get("parallelism_config_tp_size", 1)) * int(config.get("parallelism_config_cp_size", 1))


def _meeting(environment: Mapping[str, str]) -> tuple[str, str, str]:
    host, _, port = environment[MAIN_ADDRESS].rpartition(":")
    return host, port, environment.get(NODE_RANK, "0")


def _meeting_problems(nodes: int, environment: Mapping[str, str]) -> list[str]:
    found = []
    host, _, port = environment.get(MAIN_ADDRESS, "").rpartition(":")
    if not host or not port.isdigit():
        given = f" (it is {environment[MAIN_ADDRESS]!r})" if MAIN_ADDRESS in environment else ""
        found.append(f"{nodes} machines cannot meet: set {MAIN_ADDRESS}=HOST:PORT of the first on each{given}")
    rank = environment.get(NODE_RANK, "0")
    if not rank.isdigit() or int(rank) >= nodes:
        found.append(f"{NODE_RANK}={rank}: the machines are numbered from 0 to {nodes - 1}")
    return found


def _gpus() -> int:
    """GPUs of this machine."""
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0
