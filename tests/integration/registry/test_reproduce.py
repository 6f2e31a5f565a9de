"""Making a version again: the same bytes on the same machine; altered, the first stage that differs and why."""

from __future__ import annotations

import json
import subprocess

from sqlalchemy import select

from registry.db.database import open as open_registry
from registry.db.schema import Execution, ModelVersion, Reproduction
from registry.store import worktrees


def reproduce(project, *arguments: str) -> tuple[int, dict]:
    done = project.stemma("reproduce", *arguments, "--json")
    assert done.returncode in (0, 1) and done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def count(project) -> tuple[int, int]:
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        return len(session.scalars(select(Execution)).all()), len(session.scalars(select(ModelVersion)).all())


def test_the_same_bytes_again(generations):
    """No cache is read: those of all three stages are forgotten before; and none is written."""
    cache = generations.root / ".dvc" / "cache"
    for path in sorted((cache / "files").rglob("*")) + sorted((cache / "runs").rglob("*")):
        if path.is_file():
            path.unlink()
    before, status = count(generations), generations.git("status", "--porcelain")
    code, told = reproduce(generations, "base:1")
    assert (code, told["verdict"], told["made_digest"]) == (0, "bit-identical", told["recorded_digest"])
    assert [(stage["stage"], stage["same"]) for stage in told["stages"]] == [
        ("curate", True), ("pretrain", True), ("evaluate@base", True),
    ]  # fmt: skip
    assert all(metric["recorded"] == metric["made"] for metric in told["metrics"])
    assert not [path for path in cache.rglob("*") if path.is_file()], "DVC's caches are as they were"
    assert count(generations) == before and generations.git("status", "--porcelain") == status
    assert worktrees.folders(generations.root) == [generations.root]
    assert [path.name for path in (generations.workspace.home / "reproductions").iterdir()] == []
    assert (generations.workspace.home / "runs" / told["name"] / "pretrain.log").is_file()
    with open_registry(generations.workspace.registry_url) as opened, opened.read() as session:
        (row,) = session.scalars(select(Reproduction))
        assert (row.verdict, row.stage, row.cause, row.actor) == ("bit-identical", None, None, "Ada <ada@example.org>")
        assert row.commit_sha == generations.git("rev-parse", "refs/stemma/runs/first")


def test_what_was_altered_is_named(generations, tmp_path):
    """The code, a parameter, the raw data, and what no record names; each in the same restored tree."""
    tree = tmp_path / "tree"
    assert json.loads(generations.stemma("restore", "base:2", str(tree), "--json").stdout)["run"] == "second"

    def altered(name: str, old: str, new: str) -> tuple[int, dict]:
        subprocess.run(["git", "-C", tree, "checkout", "-q", "."], check=True)
        text = (tree / name).read_text()
        assert old in text
        (tree / name).write_text(text.replace(old, new))
        return reproduce(generations, "base:2", "--tree", str(tree))

    for name, old, new, stage, cause in (
        ("stages.py", "text * parameters", "text.upper() * parameters", "curate", "code: stages.py"),
        ("params.yaml", "quality: 0.9", "quality: 0.7", "pretrain", "parameters: pretrain.quality was 0.9, is 0.7"),
        ("data/raw/a.txt", "raw", "other", "curate", "input: data/raw"),
        ("stages.py", "    save(out,", "    raise OSError('no')\n    save(out,", "pretrain", "code: stages.py"),
    ):
        code, told = altered(name, old, new)
        assert (code, told["verdict"], told["stage"]) == (1, "diverged", stage), told
        first = told["causes"][0]
        assert f"{first['kind']}: {first['what']}".startswith(cause)
        assert "OSError" not in new or "OSError: no" in told["causes"][-1]["what"]

    # A file that is nobody's dependency: the same recipe, as far as anyone can tell, and the same accuracy.
    code, told = altered("tiny_decoder.py", '"dtype": "float32"', '"dtype": "float32", "note": 1')
    assert (code, told["verdict"], told["stage"], told["causes"]) == (0, "equivalent", "pretrain", [])
    judged = {metric["name"]: metric["within"] for metric in told["metrics"]}
    assert judged == {"pretrain.loss": None, "evaluate@base.accuracy": True}
    with open_registry(generations.workspace.registry_url) as opened, opened.read() as session:
        verdicts = [row.verdict for row in session.scalars(select(Reproduction).order_by(Reproduction.id))]
    assert verdicts == ["diverged"] * 4 + ["equivalent"]
