"""The flow that measures a registered model on an evaluation set: today's, or that of an earlier run."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, State

from core.git import git
from core.numbers import figure, measured
from core.workspace import Workspace
from flows.deployments import flow_run, form
from flows.pipeline.measure import gap_of, measure_on
from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.errors import UnknownReference
from registry.promotion.measurements import Measurement, measurements, names_of, short
from registry.store.snapshot import NAMESPACE


@flow(name="evaluate", description="Measures a registered model on the present evaluation set, or on an earlier run's.")
def evaluate(
    model: form.ModelName,
    version: int | None = None,
    evaluation_set: str | None = None,
    workspace: str | None = None,
) -> State:
    """Measure a model. The metrics go into the registry, beside those that it has.

    Args:
        model: Name of the registered model.
        version: Number of the version; the newest when left out.
        evaluation_set: Name of the run whose evaluation set, code and parameters are used; the present ones if empty.
        workspace: Folder of the workspace; the one that the deployments are served from when left out.
    """
    place, logger = flow_run.begin(workspace), get_run_logger()
    commit = _commit_of(place, evaluation_set) if evaluation_set else None
    with open_registry(place.registry_url) as registry, registry.read() as session:
        reference = str(resolve(session, f"{model}:{version}" if version is not None else model))
    gap = gap_of(place.root, model)
    logger.info("%s measures %s on %s", gap.stage, reference, evaluation_set or "the present data")
    run = measure_on(place, reference, gap, commit)
    found = _newest(place, reference, gap.stage)
    create_markdown_artifact(
        _markdown(reference, run, found), key=f"evaluation-{model}".lower(), description=f"{reference} by {gap.stage}"
    )
    metrics = ", ".join(f"{each.name} {figure(each.value)}" for each in found)
    return Completed(name="Measured", message=f"{reference}: {metrics}", data={each.name: each.value for each in found})


def _commit_of(place: Workspace, run: str) -> str:
    commit = git(place.root, "rev-parse", "--verify", "--quiet", f"{NAMESPACE}/{run}", check=False)
    if not commit:
        known = git(place.root, "for-each-ref", "--format=%(refname:lstrip=3)", "--sort=-creatordate", NAMESPACE)
        raise UnknownReference(f"no run is called {run!r}; there are: {', '.join(known.split()[:20]) or 'none'}")
    return commit


def _newest(place: Workspace, reference: str, stage: str) -> list[Measurement]:
    """The newest metric of each name that the stage measured of the version."""
    with open_registry(place.registry_url) as registry, registry.read() as session:
        version = resolve(session, reference)
        every = [measured for name in names_of(session, version) for measured in measurements(session, version, name)]
    newest = {each.name: each for each in sorted(every, key=lambda each: each.started) if each.stage == stage}
    return list(newest.values())


def _markdown(reference: str, run: str, found: list[Measurement]) -> str:
    lines = [f"# {reference}", "", "| metric | value | better | evaluation set |", "|---|---|---|---|"]
    better = {True: "higher", False: "lower", None: ""}
    for each in found:
        lines.append(f"| {each.name} | {measured(each.value, each.stderr)} | {better[each.higher_is_better]} | "
                     f"{short(each.eval_set)} |")  # fmt: skip
    return "\n".join([*lines, "", f"Recorded as the run `{run}`."])
