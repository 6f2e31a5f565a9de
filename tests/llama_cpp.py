"""llama.cpp for tests, built, from npm's package index (``node-llama-cpp``): fetched once, kept between runs."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.real_models import CACHE

VERSION = "3.21.1"
FOLDER = CACHE / f"node-llama-cpp-{VERSION}"
# The package and the built library for this system alone; with its optional ones it has builds for six others.
PACKAGES = (f"node-llama-cpp@{VERSION}", f"@node-llama-cpp/linux-x64@{VERSION}")
SCRIPT = """
import {readFileSync} from "node:fs";
import {getLlama} from "node-llama-cpp";
const llama = await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: "error", maxThreads: 1});
const found = [];
for (const job of JSON.parse(readFileSync(0, "utf8"))) {
  const model = await llama.loadModel({modelPath: job.model, gpuLayers: 0});
  const context = await model.createContext({contextSize: job.context, flashAttention: false, threads: 1});
  const sequence = context.getSequence();
  const answers = [];
  for (const prompt of job.prompts) {
    await sequence.clearHistory();
    const made = [];
    for await (const token of sequence.evaluate(prompt, {temperature: 0, yieldEogToken: true})) {
      made.push(token);
      if (made.length >= job.tokens || token === job.end) break;
    }
    answers.push(made);
  }
  const tokens = job.texts.map(text => Array.from(model.tokenize(text, true)));
  found.push({answers, tokens, texts: tokens.map(ids => model.detokenize(ids, true))});
  await model.dispose();
}
process.stdout.write(JSON.stringify(found));
process.exit(0);
"""


def run(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What llama.cpp makes of each job.

    A job has ``model`` (a GGUF file), ``context``, ``prompts`` (token ids), ``tokens`` (most of an answer), ``end`` and
    ``texts``. Found are greedy ``answers`` (token ids), the ``tokens`` of the texts and the texts made of them again.
    """
    done = subprocess.run(
        ["node", "run.mjs"], cwd=_installed(), input=json.dumps(jobs), capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _installed() -> Path:
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("npm and node are not on PATH, which bring llama.cpp")
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER.parent / f".{FOLDER.name}.lock"):
        if not FOLDER.is_dir():
            partial = FOLDER.with_name(f"{FOLDER.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            options = ["--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional", "--no-save"]
            done = subprocess.run(
                ["npm", "install", *options, *PACKAGES], cwd=partial, capture_output=True, text=True, timeout=400,
                env={**os.environ, "npm_config_update_notifier": "false"},
            )  # fmt: skip
            if done.returncode:
                pytest.skip(f"npm does not give {PACKAGES[0]}: {done.stderr.strip().splitlines()[-1:]}")
            partial.rename(FOLDER)
        (FOLDER / "run.mjs").write_text(SCRIPT)
    return FOLDER
