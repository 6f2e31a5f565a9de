"""The judge of ``params.yaml`` for a command: verdicts are kept where evaluations keep theirs, tokens are counted."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator

from components.evaluate.judge.parameters import JudgeParameters, key_problems
from components.evaluate.judge.verdicts import Judge, Tally, judging
from components.evaluate.parameters import EvaluateParameters
from core import layout
from core.errors import InputProblem
from core.workspace import Workspace
from registry.db.database import open as open_registry
from registry.lineage import judgings
from registry.promotion.parameters import load_section


def problems(workspace: Workspace) -> list[str]:
    """What keeps the judge of ``evaluate.judge`` from being asked: there is no such section, or its key is not set."""
    parameters = _section(workspace)
    if parameters is None:
        return ["params.yaml has no evaluate.judge; name an endpoint and a model there"]
    return key_problems(parameters)


def _section(workspace: Workspace) -> JudgeParameters | None:
    return load_section(workspace.root, "evaluate", EvaluateParameters).judge


@contextlib.contextmanager
def judge_for(workspace: Workspace, command: str, models: Iterable[int | None]) -> Iterator[Judge]:
    """The judge of ``evaluate.judge``, which can be reached.

    What it is asked is recorded at the end for `stemma cost`, also where the judging failed.

    Args:
        command: by whose name it is recorded.
        models: rows of the artifacts whose answers it judges; ``None`` for what the registry does not have.

    Raises:
        InputProblem: there is no such section, or its key is not set.
        JudgeFailed: the judge cannot be reached.
    """
    if found := problems(workspace):
        raise InputProblem(found)
    parameters = _section(workspace)
    assert parameters is not None  # it would be a problem
    known = [each for each in models if each is not None]

    def count(tally: Tally) -> None:
        with open_registry(workspace.registry_url) as registry:
            judgings.record(
                registry, command, parameters.model, parameters.endpoint, tally.own_prompt_tokens,
                tally.own_completion_tokens, known,
            )  # fmt: skip

    work = f"{command}-{uuid.uuid4().hex}"  # a name of its own: what is kept from the last time cost nothing now
    with judging(parameters, layout.cache(workspace.home) / "evaluate", work, count) as judge:
        yield judge
