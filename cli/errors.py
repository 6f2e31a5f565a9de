"""How the command reports errors: a clear sentence on standard error, and an exit code a script can use."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Iterator

FAILED, USER_INPUT, INTERRUPTED = 1, 2, 130


@contextlib.contextmanager
def errors_as_messages() -> Iterator[None]:
    """Turn the errors that a user can act on into messages; anything else is a defect and keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        _end("Stopped. The next `stemma run` goes on from the last checkpoints.", code=INTERRUPTED)
    except (Exception, BaseExceptionGroup) as error:
        explained = explain(error)
        if explained is None:
            raise
        _end(*explained[1], *getattr(error, "__notes__", []), code=explained[0])
    except BaseException as error:
        from core.processes import Terminated

        if isinstance(error, Terminated):
            notes = getattr(error, "__notes__", [])
            stopped = f"Stopped ({error}). The next `stemma run` goes on from the last checkpoints."
            _end(stopped, *notes, code=error.code)
        raise


def explain(error: BaseException) -> tuple[int, list[str]] | None:
    """(exit code, lines) for an error that a user can act on."""
    from components.evaluate.judge.client import JudgeFailed
    from core.errors import DvcError, InputProblem, KeyProblem, WorkspaceError
    from deploy.backup.manifest import BackupRefused
    from flows.pipeline.damage import Damaged
    from flows.pipeline.planning import PlanningFailed
    from flows.pipeline.stage_process import StageFailed, StageStopped
    from flows.pipeline.worktree import WorktreeFailed
    from flows.prefect_server import ServerFailed
    from flows.sweeps.definition import SweepFailed
    from registry.errors import RegistryError, UnknownReference

    if isinstance(error, InputProblem):
        count = len(error.problems)
        head = "1 problem; nothing was changed:" if count == 1 else f"{count} problems; nothing was changed:"
        return USER_INPUT, [head, *(f"  {problem}" for problem in error.problems)]
    if isinstance(error, BackupRefused | WorkspaceError | UnknownReference):
        return USER_INPUT, [str(error)]
    if isinstance(error, StageFailed):
        hint = f"The whole log: {error.log}\nFix the cause and run `stemma run` again: finished stages stay cached."
        return FAILED, [str(error), "", hint]
    if isinstance(error, StageStopped):
        return INTERRUPTED, [f"{error}. The next `stemma run` goes on from its last checkpoint."]
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return USER_INPUT, [f"no disk space is left{f' for {error.filename}' if error.filename else ''}; free some"]
    if isinstance(error, DvcError):
        return FAILED, [f"DVC: {error}"]
    if isinstance(error, Damaged | JudgeFailed | KeyProblem | PlanningFailed | RegistryError | ServerFailed):
        return FAILED, [str(error)]
    if isinstance(error, SweepFailed | WorktreeFailed):
        return FAILED, [str(error)]
    return None


def _end(*lines: str, code: int) -> None:
    from core.text import printable

    print(printable("\n".join(lines)), file=sys.stderr)
    sys.exit(code)
