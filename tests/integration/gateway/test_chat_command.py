"""``stemma chat`` as people and scripts use it."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil


def chat(root, said: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "chat", *arguments]
    return subprocess.run(command, cwd=root, input=said, capture_output=True, text=True, timeout=300)


def test_it_asks_a_gateway(lab, serving, first_champion):
    done = chat(lab.root, "hi\n/reset\n\nagain\n/quit\nnever\n", "--url", serving.url, "--max-tokens", "3")
    assert done.stdout.splitlines() == ["one-1 one-2 one-3"] * 2 and done.returncode == 0
    assert "assistant:1" in done.stderr and "Conversation cleared." in done.stderr
    base = chat(lab.root, "one-1\n", "base@champion", "--url", serving.url, "--max-tokens", "2")
    assert base.stdout == "one-2 one-3\n"
    unknown = chat(lab.root, "hi\n", "nobody", "--url", serving.url)
    assert unknown.returncode == 1 and "not served here" in unknown.stderr and "Traceback" not in unknown.stderr


def test_it_starts_a_gateway_of_its_own(lab):
    done = chat(lab.root, "hi\n", "assistant:1", "--max-tokens", "4", "--temperature", "1", "--top-k", "1")
    assert done.stdout == "one-1 one-2 one-3 one-4\n", done.stderr
    assert not [each for each in psutil.Process(os.getpid()).children(recursive=True) if "deploy.gateway" in
                " ".join(each.cmdline()) and "assistant:1" in each.cmdline()]  # fmt: skip
    unsigned = chat(lab.root, "hi\n", "base:2")
    assert unsigned.returncode == 1 and "not signed" in unsigned.stderr
