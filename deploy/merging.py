"""A base and its adapter as one plain model, for engines and formats that know no adapters: made once, kept by digest.

The work is done by ``python -m deploy.merging FOLDER TARGET``, a process of its own: the gateway imports no torch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from core import adapted, files, layout, python
from core.environment import TELEMETRY_OFF
from core.processes import die_with_parent
from registry.errors import InvalidBytes, RegistryError
from registry.store.manifests import digest_of
from registry.store.run_locks import running


class NotMerged(RegistryError):
    """The adapter could not be merged into its base."""


def merged_copy(home: Path, folder: Path) -> Path:
    """The model in ``folder``, a verified copy named by its digest, with its adapter merged; itself without one.

    Merged folders are kept below ``home`` under that digest, each with one of its own in a file beside it: what was
    altered is made again.

    Raises:
        InvalidBytes: the adapter is not for the weights beside it.
        NotMerged: transformers or PEFT cannot load them.
    """
    if not adapted.is_adapted(folder):
        return folder
    if problem := adapted.problem(folder):
        raise InvalidBytes(problem)
    target = layout.merged(home) / folder.name
    record = target.with_name(f"{target.name}.json")
    if target.is_dir():
        if files.read_json(record, {}).get("digest") == digest_of(target):
            return target
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with running(home), tempfile.TemporaryDirectory(prefix=".partial-", dir=target.parent) as partial:
        staging = Path(partial) / "files"
        done = subprocess.run(
            python.command("deploy.merging", str(folder), str(staging)), capture_output=True, text=True,
            env={**os.environ, **TELEMETRY_OFF, "HF_HUB_OFFLINE": "1"}, preexec_fn=die_with_parent,
        )  # fmt: skip
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise NotMerged(f"{folder}: the adapter could not be merged into its base: {lines[-1]}")
        files.write_json(record, {"digest": digest_of(staging)})
        try:
            os.rename(staging, target)
        except OSError:  # another process was quicker
            if not target.is_dir():
                raise
    return target


def merge(folder: Path, target: Path) -> None:
    """Write the base in ``folder`` with its adapter added to the weights, in the base's own type, as ``target``."""
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # that a head is new: the adapter brings it
    torch.set_num_threads(1)
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    kind = getattr(transformers, config.architectures[0])
    model = kind.from_pretrained(folder, dtype="auto", use_safetensors=True, trust_remote_code=False)
    adapted.apply(model, folder).save_pretrained(target)
    for file in folder.iterdir():
        if file.is_file() and ".safetensors" not in file.name:
            shutil.copyfile(file, target / file.name)
    for file in target.iterdir():
        files.as_umask(file)


if __name__ == "__main__":
    adapted.spare_bitsandbytes(Path(sys.argv[1]))
    merge(Path(sys.argv[1]), Path(sys.argv[2]))
