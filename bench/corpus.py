"""The text of the bench: the interpreter's own documentation, packed by the project's curate and tokenize stages."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

from bench.stages import run_stage

# Prose alone, and so much of it held out that a score takes some seconds.
CURATE = {"labels": {"source": "none"}, "instructions": {"signatures": {"renderings": 0}},
          "split": {"validation": 0.03, "test": 0.01}}  # fmt: skip


def prepare(folder: Path, vocabulary: int) -> Path:
    """A workspace under ``folder`` with ``data/tokens`` and ``models/tokenizer``; made once for each interpreter."""
    name = json.dumps([CURATE, vocabulary, sys.version])
    workspace = folder / f"corpus-{hashlib.sha256(name.encode()).hexdigest()[:10]}"
    if (workspace / "data/tokens/index.json").exists():
        return workspace
    print(f"making the corpus in {workspace} (once, half a minute) ...", flush=True)
    partial = workspace.with_name(workspace.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "data/raw").mkdir(parents=True)
    run_stage("curate", partial, CURATE)
    run_stage("tokenize", partial, {"vocabulary_size": vocabulary})
    partial.rename(workspace)
    return workspace


def digest(workspace: Path) -> str:
    """Names the packed tokens, so that results on other tokens are never mixed with these."""
    found = hashlib.sha256()
    for path in sorted((workspace / "data/tokens").iterdir()):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]
