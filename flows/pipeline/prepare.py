"""Makes a pipeline run ready: everything that can be refused is refused here, before anything is changed."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import components
from components import compute
from components.harness.parameters import problems_of_checkpoints, validate
from components.pretrain import memory
from core import dvc, parameters_file
from core.errors import InputProblem
from core.workspace import Workspace
from flows.pipeline import damage, downloads, graph, parameters, parent_model, raw_data, skipping
from flows.pipeline.downloads import Download
from flows.pipeline.graph import Graph
from flows.pipeline.parent_model import Parent
from flows.pipeline.run_state import RunState
from flows.pipeline.worktree import Worktree, folder_of
from registry.store import worktrees
from registry.store.run_locks import running

_RUN_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,99}(?<!\.)(?<!\.lock)")


@dataclass(frozen=True)
class Request:
    """What the user wants of a run.

    Attributes:
        overrides: parameter values by dotted path, for this run.
        until: last stage wanted; what it needs is brought up to date too.
        from_stage: first stage wanted (``--from``); what stands above it is taken as it is.
        skip: stages that the run leaves out.
        isolated: run in a git worktree of its own.
        run: name of the run; made up from the time when not given.
        problems: what could not even be read of the request; reported together with all the others.
        downloads: public files that a recipe needs in ``data/raw``.
        from_form: the overrides are a form's, so a mistake in one is named by its path in ``params.yaml`` alone.
    """

    overrides: Mapping[str, Any] = field(default_factory=dict)
    until: str | None = None
    from_stage: str | None = None
    isolated: bool = False
    run: str | None = None
    problems: tuple[str, ...] = ()
    downloads: tuple[Download, ...] = ()
    skip: tuple[str, ...] = ()
    from_form: bool = False

    @property
    def options(self) -> Mapping[str, Any]:
        """The overrides that were given as ``--set``."""
        return {} if self.from_form else self.overrides


@dataclass
class Prepared:
    """A run made ready.

    Attributes:
        workspace: the user's workspace.
        root: where the stages run: the workspace's root, or that of the run's own worktree.
        stages: stages to reproduce, upstream first.
        changed: what DVC says has changed, by stage.
        run_state: the run's state, for what shows it.
        left_out: stages that it leaves out, and those that cannot run without them.
        trial: it is one of a sweep, which was planned as a whole and promotes nothing: its winner is judged when it is
            run again.
    """

    workspace: Workspace
    root: Path
    run: str
    graph: Graph
    stages: list[str]
    changed: dict[str, list[Any]]
    run_state: RunState
    worktree: Worktree | None = None
    left_out: frozenset[str] = frozenset()
    trial: bool = False

    @property
    def home(self) -> Path:
        return self.workspace.home

    @property
    def up_to_date(self) -> bool:
        """True when none of the wanted stages changed."""
        return not any(stage in self.changed for stage in self.stages)


def new_run_name() -> str:
    """A name no other run has: the time, and four random digits for runs started at once."""
    return f"run-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def prepare(workspace: Workspace, request: Request, say: Callable[[str], None]) -> Prepared:
    """Check the request against the workspace, write its overrides, and find out what has to run.

    Args:
        say: called with a line for each change in the user's tree.

    Raises:
        InputProblem: every problem of the request and of ``params.yaml`` at once; nothing was changed, but for the
            files that a recipe fetched.
        RegistryError: the parent model's files are not what was registered or signed; nothing was changed.
        Damaged: an input is damaged in DVC's cache, and there is no other copy.
        dvc.DvcError, WorktreeFailed: an engine refused.
    """
    if request.downloads:
        _refuse_parameters(workspace, request)  # before minutes of fetching
        downloads.bring(workspace.root, request.downloads, say)
    checked = check(workspace, request)
    with running(workspace.home):  # no collection takes the parent model's files, or the run's snapshot, meanwhile
        return _prepare(workspace, request, *checked, say)


def _prepare(
    workspace: Workspace,
    request: Request,
    stages_graph: Graph,
    changed: dict[str, list[Any]],
    stages: list[str],
    values: dict[str, Any],
    say: Callable[[str], None],
) -> Prepared:
    init, takes_tokenizer = parent_model.init_in(values), parent_model.takes_tokenizer(values)
    # Verified, or downloaded, before anything is changed; left as it is by a run that does not read it.
    reads_parent = not parent_model.READERS.isdisjoint(stages)
    parent = None
    if init is not None and reads_parent:
        parent = parent_model.find(workspace, init, say, with_tokenizer=takes_tokenizer)
    if any(stage in changed for stage in stages):
        wrong = [*problems_of_clusters(stages, values), *problems_of_memory(stages, values)]
        if wrong:
            raise InputProblem([parameters.attribute(line, request.options) for line in wrong])
    if parent is not None:
        skip = skipping.resolve(stages_graph, request.skip)
        asked = [stage for stage in stages if stage not in skip]
        wrong = parent_model.problems_of_family(workspace.root, parent, asked, values)
        if wrong:
            raise InputProblem([parameters.attribute(line, request.options) for line in wrong])
    # What an override changes, DVC cannot know yet.
    stale = stages_graph.descendants(stages_graph.parents.keys() & changed.keys())
    if wrong := _problems_of_stores(stages if request.overrides else stale.intersection(stages), values):
        raise InputProblem([parameters.attribute(line, request.options) for line in wrong])
    if parent is not None and not request.isolated:
        parent_model.refuse_to_lose(workspace.root, changed, parent)
    run = request.run or new_run_name()
    stays = parent is None or parent_model.is_placed(workspace.root, parent)
    if (request.isolated or request.overrides or not stays) and (workspace.root / "dvc.lock").is_file():
        from registry.lineage.sync import sync

        # What a bare `dvc repro` or a killed run left is filed with this tree, not with the one that follows.
        sync(workspace, update_mlflow=False)
    if request.isolated:
        return _prepare_isolated(workspace, request, run, stages_graph, stages, changed, parent, say)
    root = workspace.root
    if done := raw_data.ensure(root, changed, request.overrides):
        say(done)
    placed = parent is not None and parent_model.place(root, parent, say)
    if parent is not None:
        parent_model.forget(workspace.home, parent)
    if request.overrides:
        parameters_file.write(root / "params.yaml", request.overrides)
        settings = ", ".join(f"{path}={value}" for path, value in request.overrides.items())
        say(f"params.yaml: wrote {settings} (take it back with `git checkout params.yaml`)")
    if done or placed or request.overrides:
        changed = dvc.status(root)
    return _prepared(workspace, root, run, stages_graph, stages, changed, request, say)


def _prepared(
    workspace: Workspace,
    root: Path,
    run: str,
    stages_graph: Graph,
    stages: list[str],
    changed: dict[str, list[Any]],
    request: Request,
    say: Callable[[str], None],
    worktree: Worktree | None = None,
) -> Prepared:
    """The run, without what it leaves out."""
    kept, lines = skipping.leave_out(root, stages_graph, stages, skipping.resolve(stages_graph, request.skip))
    for line in lines:
        say(line)
    left_out = frozenset(stages) - frozenset(kept)
    return Prepared(workspace, root, run, stages_graph, kept, changed, RunState(run, kept), worktree, left_out)


def _prepare_isolated(
    workspace: Workspace,
    request: Request,
    run: str,
    stages_graph: Graph,
    stages: list[str],
    changed: dict[str, list[Any]],
    parent: Parent | None,
    say: Callable[[str], None],
) -> Prepared:
    from registry.store.snapshot import left_out_words, not_kept, secrets_left_out, snapshot

    if large := not_kept(workspace.root):
        say(f"isolated: {', '.join(large)}: large and not in git, so the run's tree has them not; use `dvc add`")
    versioned = raw_data.is_versioned(workspace.root, changed)
    if not versioned:
        raw_data.refuse(workspace.root, request.overrides)
    commit = snapshot(workspace, run)
    if hidden := secrets_left_out(workspace.root, commit):
        say(f"isolated: {left_out_words(hidden)}")
    worktree = Worktree.create(workspace.root, workspace.home, run, commit, versioned)
    try:
        root = worktree.root
        say(f"isolated: runs in {root}; your files stay as they are")
        if done := raw_data.ensure(root, {} if versioned else {f"{raw_data.RAW}.dvc": []}, request.overrides):
            say(done)
        if parent is not None:
            parent_model.place(root, parent, say)
            parent_model.forget(workspace.home, parent)
        if request.overrides:
            parameters_file.write(root / "params.yaml", request.overrides)
        changed = dvc.status(root)
        # What the checkout took from DVC's cache, as far as a stage will read it.
        while damage.mend_inputs(root, stages_graph, stages, changed, say):
            changed = dvc.status(root)
        return _prepared(workspace, root, run, stages_graph, stages, changed, request, say, worktree)
    except BaseException:
        worktree.remove()
        raise


def check(workspace: Workspace, request: Request) -> tuple[Graph, dict[str, list[Any]], list[str], dict[str, Any]]:
    """(graph, what changed, wanted stages, parameters) of a request that makes sense; changes nothing.

    Raises:
        InputProblem: every problem of the request and of ``params.yaml`` at once.
    """
    with ThreadPoolExecutor(1) as pool:  # DVC takes a second to start
        reading = pool.submit(graph.read_with_status, workspace.root)
        problems = [*request.problems, *_problems_of_name(workspace, request)]
        init, values = None, {}
        try:
            values = parameters_file.apply(parameters.load(workspace.root), request.overrides)
            problems += parameters.problems_in(values, request.options)
            init = parent_model.init_in(values)
        except InputProblem as problem:
            problems += problem.problems
        stages_graph, stages = Graph({}), []
        changed: dict[str, list[Any]] = {}
        try:
            stages_graph, changed = reading.result()
            stages = stages_graph.select(request.until, request.from_stage)
        except InputProblem as problem:
            problems += problem.problems
        skip: frozenset[str] = frozenset()
        try:
            skip = skipping.resolve(stages_graph, request.skip if stages_graph.parents else ())
        except InputProblem as problem:
            problems += problem.problems
    if init is not None and not parent_model.READERS.isdisjoint(stages):
        found = [f"params.yaml: pretrain.init: {line}" for line in parent_model.problems(workspace, init)]
        problems += [parameters.attribute(line, request.options) for line in found]
    found = problems_of_stages(workspace.root, [stage for stage in stages if stage not in skip], values)
    problems += [parameters.attribute(line, request.options) for line in found]
    if problems:
        raise InputProblem(problems)
    return stages_graph, changed, stages, values


def _refuse_parameters(workspace: Workspace, request: Request) -> None:
    values = parameters_file.apply(parameters.load(workspace.root), request.overrides)
    if problems := [*request.problems, *parameters.problems_in(values, request.options)]:
        raise InputProblem(problems)


def problems_of_stages(root: Path, stages: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """What the wanted stages can say of their parameters, and of the files that these name, before any of them runs.

    The parent model apart, which the run itself brings. Sections with mistakes of their own are passed over.
    """
    problems: list[str] = []
    for name in dict.fromkeys(stage.partition("@")[0] for stage in stages):
        if name not in components.STAGES or name == parent_model.STAGE:
            continue
        component = components.load(name)
        if any(each.type == "raw" for each in component.inputs):
            problems += raw_data.refused_by_dvc(root)
        with contextlib.suppress(InputProblem):
            problems += component.check(validate(values, name, component.parameters), root, {})
    return list(dict.fromkeys(problems))


def _problems_of_stores(stages: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Why the checkpoints of stages that are about to run cannot be kept where their parameters say."""
    problems: list[str] = []
    for name in sorted({stage.partition("@")[0] for stage in stages} & set(components.STAGES)):
        with contextlib.suppress(InputProblem):
            problems += problems_of_checkpoints(name, validate(values, name, components.load(name).parameters))
    return problems


def problems_of_clusters(stages: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """What keeps the wanted stages from running on the clusters that ``compute`` names; each is asked."""
    problems, where = [], compute.read(values)
    for name in dict.fromkeys(stage.partition("@")[0] for stage in stages):
        if where.of(name).kind != "local":
            component = components.load(name)
            chosen = validate(values, name, component.parameters)
            problems += compute.problems(component, where.of(name), chosen, {})
    return problems


def problems_of_memory(stages: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Why the decoder that pretraining would make cannot be trained on this machine, where it is to be trained here."""
    if "pretrain" not in stages or compute.read(values).of("pretrain").kind != "local":
        return []
    found = memory.problem(validate(values, "pretrain", components.load("pretrain").parameters))
    return [f"params.yaml: {found}"] if found else []


def _problems_of_name(workspace: Workspace, request: Request) -> list[str]:
    if request.run is None:
        return []
    if not _RUN_NAME.fullmatch(request.run):
        return [f"--name {request.run}: use at most 100 letters, digits, '-', '_' and '.', a letter or digit first"]
    folder = folder_of(workspace.home, request.run)
    if folder.exists() and (request.isolated or worktrees.held(folder)):
        return [
            f"--name {request.run}: a run of that name is under way or has failed; choose another, or remove its tree: "
            f"git worktree remove --force {folder}"
        ]
    return []
