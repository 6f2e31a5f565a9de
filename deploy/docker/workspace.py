"""Makes the workspace of a container ready, then becomes the command: ``python -m deploy.docker.workspace COMMAND…``.

The workspace lies on a volume, at ``STEMMA_WORKSPACE`` (a folder below the mount, so that it belongs to this account).
An empty one becomes a clone of ``STEMMA_WORKSPACE_REPOSITORY``, or where that is not set, a copy of the workspace that
the image ships.
``STEMMA_DVC_REMOTE``, a URL such as ``s3://dvc``, becomes DVC's default remote of this copy. Where
``STEMMA_SIGNING_KEY`` names a file that is not there, as in the first container that promotes, the key is made there,
and its public part is trusted by all that share the workspace. Containers that share a volume wait for each other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from core import dvc, layout
from core.files import private_folder, write_bytes

SHIPPED = Path("/opt/stemma")
TRUSTED = "containers.pem"  # among the workspace's trusted keys
REMOTE = "stemma"


def main(command: list[str]) -> int:
    """Become ``command`` in the workspace; exit code 1 where it cannot be made ready."""
    if not command:
        print("workspace: name the command to run", file=sys.stderr)
        return 2
    root = Path(os.environ.get("STEMMA_WORKSPACE", "/data/workspace"))
    try:
        (root / ".stemma").mkdir(parents=True, exist_ok=True)  # what git and DVC ignore
        with FileLock(root / ".stemma" / "workspace.lock", timeout=300):
            prepare(root)
            if key := os.environ.get("STEMMA_SIGNING_KEY"):
                make_signing_key(Path(key), layout.trusted_keys(root / ".stemma") / TRUSTED)
    except (OSError, Timeout, subprocess.CalledProcessError) as error:
        print(f"workspace {root}: {getattr(error, 'stderr', None) or error}", file=sys.stderr)
        return 1
    os.chdir(root)
    os.execvp(command[0], command)


def prepare(root: Path, shipped: Path = SHIPPED) -> None:
    """Make ``root`` a workspace; one that is there already is kept as it is, but for DVC's remote.

    Raises:
        subprocess.CalledProcessError: git or DVC refused.
    """
    if not (root / ".git").exists():
        _fill(root, shipped)
    if remote := os.environ.get("STEMMA_DVC_REMOTE"):
        # In the local configuration, which git does not keep: another copy may have another remote.
        _run(root, *dvc.command("remote", "add", "--local", "--default", "--force", REMOTE, remote))


def make_signing_key(path: Path, trusted: Path) -> None:
    """Make the key that signs promotions where there is none yet, and leave its public part at ``trusted``.

    Raises:
        OSError: the key is gone that signed until now; another is not made silently.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if path.exists():
        return
    if trusted.exists():
        raise OSError(
            f"STEMMA_SIGNING_KEY: {path} is gone, and {trusted} has its public part: restore the key from a back-up, "
            "or rename that file (what the lost key signed stays trusted) and start again for a new key"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    public = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    for folder in (trusted.parent.parent, trusted.parent, path.parent):
        private_folder(folder)
    write_bytes(trusted, key.public_key().public_bytes(*public))
    write_bytes(path, key.private_bytes(*private), private=True)


def _fill(root: Path, shipped: Path) -> None:
    """Beside the workspace first, then by renames, ``.git`` last: killed in between, the next start does it again."""
    staging = root / ".stemma" / "workspace.partial"
    shutil.rmtree(staging, ignore_errors=True)
    if repository := os.environ.get("STEMMA_WORKSPACE_REPOSITORY"):
        _run(root, "git", "clone", "--quiet", repository, str(staging))
    else:
        made_here = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".stemma")
        shutil.copytree(shipped, staging, ignore=made_here)
        _run(staging, "git", "init", "--quiet", "--initial-branch=main")
        _run(staging, "git", "config", "user.name", "Stemma")
        _run(staging, "git", "config", "user.email", "stemma@localhost")
        _run(staging, "git", "add", "--all")
        _run(staging, "git", "commit", "--quiet", "--message", "The workspace that the image ships")
    for path in sorted(staging.iterdir(), key=lambda path: path.name == ".git"):
        target = root / path.name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        os.replace(path, target)
    staging.rmdir()


def _run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
