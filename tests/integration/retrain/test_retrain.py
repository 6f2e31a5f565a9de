"""`stemma retrain` and `stemma data` on a real workspace: git, DVC, the registry, a Prefect server, a webhook."""

from __future__ import annotations

import hashlib
import os
import shutil

from tests.integration.retrain.conftest import write_rows


def test_nothing_new_ends_before_any_stage_and_any_change(project):
    ran, tree = project.ran(), project.tree()
    file = project.raw / "first.jsonl"
    os.utime(file, (1, 1))  # another time is no other content
    shutil.move(file, project.raw / "renamed.jsonl")  # nor is another name
    write_rows(project.raw / "few.jsonl", 0.9, 1)
    (project.raw / "README.md").write_text("read by no source\n")
    said = project.json("retrain")
    assert said["outcome"] == "Nothing new" and said["new_data"]["documents"] == 1
    assert "fewer than the 2 that retrain.minimum_documents requires" in said["message"]
    assert any("README.md: read by no source of curate" in note for note in said["new_data"]["notes"])
    listing = {line["name"]: line["state"] for line in project.json("data", "list")["all"]}
    assert listing == {"renamed.jsonl": "known", "few.jsonl": "new", "README.md": "unread"}
    assert (project.ran(), project.tree()) == (ran, tree)


def test_new_documents_become_the_champion_and_both_generations_are_in_its_trace(project, told):
    outside = project.root.parent / "incoming"
    write_rows(outside / "deep" / "second.jsonl", 0.9, 30)
    project.set("retrain:\n", f"retrain:\n  sources: [{{path: {outside}, into: incoming}}]\n")
    before, test_split = project.tree(), project.root / "data/corpus/test-00000-of-00001.parquet"
    frozen = hashlib.md5(test_split.read_bytes()).hexdigest()

    # A first attempt breaks on the way, and people are told.
    (project.home / "fail-pretrain").touch()
    assert "it was told to fail" in project.stemma("retrain", code=1)
    (failure,) = told.bodies
    assert failure["event"] == "failure" and "it was told to fail" in failure["reason"]
    (project.home / "fail-pretrain").unlink()

    done = project.json("retrain")
    assert done["outcome"] == "Promoted", done
    assert any(line.startswith("base:2 is now base@champion (before: base:1)") for line in done["promoted"])
    assert any(line.startswith("assistant:2 is now assistant@champion") for line in done["promoted"])
    assert sum(line.endswith(" curate") for line in project.ran()) == 2  # what the first attempt finished was taken

    # The user's tree is as it was, but for the data, which is versioned.
    assert project.tree() == before
    taken = project.raw / "incoming" / "deep" / "second.jsonl"
    assert taken.read_bytes() == (outside / "deep" / "second.jsonl").read_bytes()
    assert "up to date" in project.run("dvc", "status", "data/raw.dvc")
    assert len(project.run("git", "worktree", "list").splitlines()) == 1

    # Made of base:1 and of both generations of raw data.
    nodes, raw, models = [project.json("trace", "base@champion")["root"]], set(), []
    while nodes:
        node = nodes.pop()
        raw |= {node["digest"]} if node["type"] == "raw" else set()
        models += [node["model"]] if node["model"] else []
        nodes += [artifact for _, artifact in (node["made_by"] or {}).get("inputs", [])]
    assert models == ["base:2", "base:1"] and len(raw) == 2

    # Measured on the very documents that base:1 was measured on; its own test split, to the byte.
    kept = project.raw / "held_out" / test_split.name
    assert hashlib.md5(kept.read_bytes()).hexdigest() == frozen
    (project.home / "later").mkdir()
    run = f"refs/stemma/runs/{done['run']}"
    project.run("dvc", "get", "--rev", run, ".", "data/corpus", "-o", ".stemma/later/corpus")
    assert hashlib.md5((project.home / "later/corpus" / test_split.name).read_bytes()).hexdigest() == frozen

    (promotion,) = [body for body in told.bodies if body["event"] == "promotion" and body["model"] == "base"]
    assert (promotion["version"], promotion["alias"], promotion["previous"]) == (2, "champion", 1)
    assert promotion["verdict"]["passed"] and promotion["run"] == done["run"]
    assert promotion["links"]["flow_run"].startswith("http")

    # The same data is known from now on.
    ran = project.ran()
    assert project.json("retrain")["outcome"] == "Nothing new"
    assert project.ran() == ran
