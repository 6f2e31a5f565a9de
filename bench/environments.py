"""The peers' virtual environments: made once, pinned by a requirements file, kept in the bench's folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from core.errors import InputProblem

REQUIREMENTS = Path(__file__).parent / "trainers"
READY = "versions.json"


def python_of(peer: str, folder: Path) -> Path:
    """The interpreter of the peer's environment under ``folder``, which is made where it is missing or half-made.

    Raises:
        InputProblem: pip could not install what the peer's requirements file pins.
    """
    requirements = REQUIREMENTS / f"{peer}.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:10]
    environment = folder / f"{peer}-{digest}"
    python = environment / "bin/python"
    if (environment / READY).exists():
        return python
    print(f"making the environment of {peer} in {environment} (once, some minutes) ...", flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "install", "-q", "-r", str(requirements)], capture_output=True, text=True, check=False)
    if done.returncode:
        last = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise InputProblem(
            f"{requirements.name}: pip cannot install what it pins: {last}; run the bench without this peer "
            f"(--trainer), or with an index that has it (PIP_INDEX_URL)"
        )
    listed = subprocess.run([*pip, "list", "--format", "json"], capture_output=True, text=True, check=True).stdout
    versions = {each["name"].lower(): each["version"] for each in json.loads(listed)}
    # Written last: its presence says that the environment is whole.
    (environment / READY).write_text(json.dumps(versions, indent=1))
    return python


def versions_of(python: Path) -> dict[str, str]:
    """Versions of the packages in an environment made by :func:`python_of`."""
    return json.loads((python.parents[1] / READY).read_text())
