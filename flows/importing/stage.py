"""``python -m flows.importing.stage``: the one stage of an import's tree, run by DVC there.

It reads ``import.json``, brings the model that this names, and leaves a signed receipt as every stage does: the same
again when ``stemma reproduce`` imports it anew.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from components.harness.fingerprint import code_digest, fingerprint
from components.harness.receipt import environment, git_state
from components.pretrain.parent import FOLDER
from core import keys, layout
from core.errors import InputProblem
from core.files import copy, read_json, sha256, write_json
from core.workspace import Workspace
from flows.importing import adapter, inspection, sources
from registry.db.schema import IMPORT
from registry.lineage.receipts import SCHEMA
from registry.store.manifests import digest_of

NAME = IMPORT
ORDER, RECEIPT = "import.json", f"receipts/{NAME}.json"
_VERSION = "1.0.0"  # of what the stage's output means
_CODE = Path(__file__).resolve().parent


def bring(workspace: Workspace, order: dict[str, Any]) -> None:
    """Bring the model into the workspace's tree, and write the receipt.

    Args:
        order: ``source``, ``model`` (its registered name), ``path`` (where its files go), ``license`` (where the user
            named one), ``digest`` of the files when the import began, and ``base`` of an adapter: the model in
            ``models/parent``, by name.

    Raises:
        InputProblem: the source is gone, cannot be used, or holds other files by now.
    """
    started = time.time()
    target = workspace.root / order["path"]
    shutil.rmtree(target, ignore_errors=True)
    found = _adapter(workspace, order, target) if order.get("base") else _whole(workspace, order, target)
    if digest_of(target) != order["digest"]:  # what has it was checked before the order was given
        raise InputProblem(f"{found.source} holds other files than when the import began; import it again")
    license = order["license"] or found.license
    parameters = {
        "source": order["source"],
        "origin": found.origin,
        "revision": found.revision,
        "license": license,
        "files": {name: sha256(target / name) for name in found.names},
        "notes": list(found.notes),
    }
    read: list[dict[str, Any]] = []
    if order.get("base"):
        parameters["base"] = order["base"]
        parent = workspace.root / FOLDER
        size = sum(file.stat().st_size for file in parent.rglob("*") if file.is_file())
        read = [{"name": "parent", "path": FOLDER, "type": "model", "role": "parent", "digest": digest_of(parent),
                 "size": size}]  # fmt: skip
    code = code_digest(_CODE, sorted(path.name for path in _CODE.glob("*.py")))
    ended = time.time()
    body = {
        "schema": SCHEMA,
        "stage": NAME,
        "component": {"name": NAME, "version": _VERSION, "code_digest": code},
        "fingerprint": fingerprint(code, parameters, 0, {each["name"]: each["digest"] for each in read}),
        "run": os.environ.get("STEMMA_RUN"),
        "parameters": parameters,
        "non_default": {name: parameters[name] for name in ("origin", "revision", "license")},
        "inputs": read,
        "outputs": [
            {
                "name": "model", "path": order["path"], "type": "model", "role": "imported",
                "registered_model": order["model"], "digest": order["digest"],
                "size": sum((target / name).stat().st_size for name in found.names),
            }
        ],
        "warnings": inspection.warnings(target, license),
        "git": git_state(workspace.root),
        "environment": environment(),
        "device": "cpu",
        "processes": 1,
        "tokens": 0,
        "started": started,
        "ended": ended,
        "seconds": ended - started,
    }  # fmt: skip
    write_json(workspace.root / RECEIPT, keys.with_signature(workspace, body))


def _whole(workspace: Workspace, order: dict[str, Any], target: Path) -> sources.Found:
    found = sources.fetch(workspace.home, workspace.root, order["source"], lambda line: print(line, file=sys.stderr))
    if why := inspection.tokenizer_problem(found.folder):
        raise InputProblem(why)
    for name in found.names:
        copy(found.folder / name, target / name)
    return found


def _adapter(workspace: Workspace, order: dict[str, Any], target: Path) -> sources.Found:
    """The adapter that the order names, on the model in ``models/parent``."""
    source = Path(order["source"])
    if found := adapter.problems(source):
        raise InputProblem(found)
    names = adapter.assemble(source, workspace.root / FOLDER, target)
    return adapter.taken(source, target, names, order["base"])


def main() -> int:
    """Exit code 2, with the problems left where the flow looks for them, where the source cannot be used."""
    workspace = Workspace.find()
    try:
        bring(workspace, read_json(workspace.root / ORDER, None))
    except InputProblem as problem:
        print(*problem.problems, sep="\n", file=sys.stderr)
        write_json(layout.problems(workspace.home, os.environ.get("STEMMA_RUN", NAME), NAME), problem.problems)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
