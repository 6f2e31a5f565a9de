"""`python -m components STAGE`: the only entrance to a stage, and what dvc.yaml calls."""

from __future__ import annotations

import argparse
import sys

import components
from core import python
from core.environment import settle
from core.forks import Reserve
from core.prefork import is_forked
from core.processes import follow_starter


def main() -> int:
    settle()
    python.seldom_collect()
    if sys.argv[1:2] == ["plan"]:
        from components.planning.command import main as plan

        return plan(sys.argv[2:])
    if sys.argv[1:2] == ["code"]:
        return _code(sys.argv[2:])
    if sys.argv[1:] == ["pages"]:
        return _pages()
    parser = argparse.ArgumentParser(
        prog="python -m components",
        description="Run one stage of the lifecycle in the workspace of the current folder.",
        epilog="Usually `dvc repro` or `stemma run` calls this. Exit codes: 0 done, 1 failed, 2 wrong parameters or "
        "data, 75 stopped after a checkpoint (run it again and it goes on).",
    )
    parser.add_argument(
        "stage",
        help=f"{', '.join(components.STAGES)}; evaluate@MODEL; or `replay`, which sends MLflow what it could not be "
        "sent while it was down; `plan`, which prints what trainings would need and cost (`plan --help`); `pages`, "
        "which renders the pages of all reports anew; or `code`, which writes the code of the stages into dvc.yaml",
    )
    stage = parser.parse_args().stage
    if stage == "replay":
        return _replay()
    # Before anything slow is imported: a stage must not outlive the DVC that started it, however early that is killed.
    follow_starter()
    # It is forked while this process has one thread, and may do the work once that is known to be what is wanted.
    reserve = Reserve() if is_forked() else None
    from components.harness.supervise import run_stage

    return run_stage(stage, reserve)


def _code(arguments: list[str]) -> int:
    from components import code

    path = code.ROOT / "dvc.yaml"
    if arguments == ["--check"]:
        for stage in (differing := code.differing(path, components.STAGES)):
            print(f"dvc.yaml: {stage}: its deps are not the code that it imports; run `python -m components code`")
        return 1 if differing else 0
    for stage in code.write(path, components.STAGES):
        print(f"dvc.yaml: {stage}: deps updated")
    return 0


def _pages() -> int:
    from components import pages
    from core.workspace import find_root

    root, status = find_root(), 0
    for stage in components.stages():
        try:
            page = pages.render(root, stage)
        except ValueError as error:
            print(error, file=sys.stderr)
            status = 1
            continue
        if page is not None:
            print(page.relative_to(root))
    return status


def _replay() -> int:
    from components.harness.tracking import replay_pending
    from core.workspace import Workspace

    sent, failures = replay_pending(Workspace.find().home)
    logs = "event log" if sent == 1 else "event logs"
    print(f"{sent} {logs} sent to MLflow" if sent or failures else "MLflow is up to date")
    for failure in failures:
        print(f"  not sent: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
