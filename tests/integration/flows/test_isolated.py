"""Runs in worktrees of their own."""

from __future__ import annotations

import json


def test_two_isolated_runs_at_once_are_both_right_and_the_user_s_tree_is_untouched(unjudged):
    workspace = unjudged
    (workspace.root / "code" / "pretrain.txt").write_text("an edit that is not committed\n")
    before, head = workspace.tree(), workspace.run_shell("git", "status", "--porcelain")
    runs = {
        beta: workspace.start("run", "--isolated", "--name", f"iso-{beta}", "--set", f"preference_tune.beta=0.{beta}")
        for beta in (6, 7)
    }
    for beta, process in runs.items():
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert f"the exact tree of the run is refs/stemma/runs/iso-{beta}" in " ".join(out.split())
        receipt = json.loads(
            workspace.run_shell("git", "show", f"refs/stemma/runs/iso-{beta}:receipts/preference_tune.json")
        )
        assert receipt["parameters"] == {"beta": float(f"0.{beta}")}
        kept = workspace.run_shell("git", "show", f"refs/stemma/runs/iso-{beta}:code/pretrain.txt")
        assert kept == "an edit that is not committed\n"
    assert workspace.tree() == before
    assert workspace.run_shell("git", "status", "--porcelain") == head
    assert len(workspace.run_shell("git", "worktree", "list").splitlines()) == 1
    assert not list((workspace.home / "worktrees").iterdir())
    versions = [m["version"] for m in json.loads(workspace.stemma("models", "--json")) if m["model"] == "assistant"]
    assert versions == [3, 2, 1]


def test_a_failed_isolated_run_keeps_its_tree_and_says_where(workspace):
    workspace.told("preference_tune", "fail")
    text = workspace.stemma("run", "--isolated", "--name", "broken", "--set", "preference_tune.beta=0.9", code=1)
    folder = workspace.home / "worktrees" / "broken"
    assert f"`git worktree remove --force {folder}` removes it" in text
    assert "beta: 0.9" in (folder / "params.yaml").read_text()
    text = workspace.stemma("run", "--isolated", "--name", "broken", code=2)
    assert "--name broken: a run of that name is under way or has failed" in text
