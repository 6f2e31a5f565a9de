"""The contract every stage keeps: what a component declares, and what it is given when it runs.

A component is described by a :class:`Component` in ``components/<name>/__init__.py``; its parameters live in
``components/<name>/parameters.py`` and its work in ``components/<name>/stage.py`` as ``run(context)``. The first two
import nothing heavy, so that the command line, the flows and the contract tests can read them in milliseconds.

A component knows nothing of MLflow, DVC or Prefect. Everything it needs of the outside is on its :class:`Context`.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails

from core import events
from core.object_stores import misspelt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Spread = Callable[[Callable[[Path], Any], Path, Callable[[Any, Any], Any], Iterable[Any]], Iterator[Any]]
Help = Callable[
    [Callable[[Path], Any], Path, Callable[[Any, Any], Any], Sequence[Any], Any], Generator[tuple[int, Any]]
]
ArtifactType = Literal["raw", "dataset", "tokenizer", "model", "report"]


class StageParameters(BaseModel):
    """Base of every parameter model: unknown keys are errors, defaults are validated too, nothing mutates."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="wrap")
    @classmethod
    def _reject_booleans_for_numbers(cls, values: Any, handler: Callable[[Any], Any]) -> Any:
        """pydantic would take ``true`` for 1; reported together with every other problem."""
        bools = {name for name, value in values.items() if isinstance(value, bool)} if isinstance(values, dict) else ()
        wrong = [name for name in bools if name in cls.model_fields and _numbers_only(cls.model_fields[name])]
        if not wrong:
            return handler(values)
        mistake: dict[str, Any] = {"type": "value_error", "ctx": {"error": ValueError("a number belongs here")}}
        problems: list[Any] = [{**mistake, "loc": (name,), "input": values[name]} for name in wrong]
        try:
            handler(values)
        except ValidationError as error:
            keys = InitErrorDetails.__annotations__
            others: list[dict[str, Any]] = [
                {key: value for key, value in each.items() if key in keys} for each in error.errors()
            ]
            problems += [other for other in others if other["loc"][:1] not in {(name,) for name in wrong}]
        raise ValidationError.from_exception_data(cls.__name__, problems)


def _well_spelt(url: str) -> str:
    if wrong := misspelt(url):
        raise ValueError(wrong)
    return url


Address = Annotated[str, AfterValidator(_well_spelt)]  # of a place in object storage to write below


def outside_raw(path: str) -> str | None:
    """What is wrong with a path of the user's that must lie below ``data/raw``; ``None`` where it does."""
    if PurePosixPath(path).is_relative_to("data/raw") and ".." not in PurePosixPath(path).parts:
        return None
    return f"{path!r} is not below data/raw, where files are versioned"


def _numbers_only(field: FieldInfo) -> bool:
    kinds = get_args(field.annotation) or (field.annotation,)
    kinds = tuple(get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in kinds)
    return bool not in kinds and (int in kinds or float in kinds)


@dataclass(frozen=True)
class ArtifactSpec:
    """A named, typed input or output of a component.

    Attributes:
        name: key under which the context hands out the path.
        path: workspace-relative path; ``{instance}`` stands for the instance of a ``foreach`` stage.
        type: what the bytes are.
        role: what they are for (ML Metadata's event path): corpus, tokenizer, base, reference, eval_set ...
        registered_model: name under which the registry keeps versions of this output, if it does.
        optional: an input that may be absent: its folder is then empty, and is no input.
        when: whether the parameters use an optional input; where they do not, it is no input even if it is there.
    """

    name: str
    path: str
    type: ArtifactType
    role: str
    registered_model: str | None = None
    optional: bool = False
    when: Callable[[Any], bool] = lambda parameters: True

    def for_instance(self, instance: str | None) -> ArtifactSpec:
        """The same artifact with ``{instance}`` filled in."""
        if instance is None:
            return self
        return replace(
            self,
            path=self.path.format(instance=instance),
            role=self.role.format(instance=instance),
            registered_model=self.registered_model.format(instance=instance) if self.registered_model else None,
        )


@dataclass(frozen=True)
class Component:
    """One versioned stage of the lifecycle.

    Attributes:
        name: folder under ``components/`` and section of ``params.yaml``.
        version: semantic version; raise it when the meaning of the output changes.
        summary: one sentence for ``--help`` and the flows' forms.
        parameters: pydantic model of the stage's section of ``params.yaml``.
        inputs: what it reads, in order.
        outputs: what it writes; each is an empty folder when ``run`` starts.
        instances: names of a ``foreach`` stage's instances; empty for a plain stage.
        processes: how many processes its parameters ask for; above one the harness starts them with accelerate.
        resumable: it saves checkpoints in its scratch folder, so it gets time to save one before it is ended.
        apart: its processes need no disk in common but for the inputs: the main one alone reads and writes the others.
        spreads: it runs where it is started, and has copies of its model on a cluster share what is separable.
        draws: besides training it draws answers of a model, with which copies on what a cluster has free help it.
        nothing_to_do: why the stage has nothing to work on, from its parameters and the paths of the inputs that are
            there, such as *no labels*; ``None`` where it has. It then makes empty outputs, and the run goes on.
        check: problems that are known before the stage starts, from its parameters, the workspace's root and the
            digests of the optional inputs that are there. A run calls it for every wanted stage before the first one
            starts, when inputs that other stages make are missing or old.
    """

    name: str
    version: str
    summary: str
    parameters: type[StageParameters]
    inputs: tuple[ArtifactSpec, ...]
    outputs: tuple[ArtifactSpec, ...]
    instances: tuple[str, ...] = ()
    processes: Callable[[Any], int] = lambda parameters: 1
    resumable: bool = False
    apart: bool = False
    spreads: bool = False
    draws: bool = False
    nothing_to_do: Callable[[Any, Mapping[str, Path]], str | None] = lambda parameters, inputs: None
    check: Callable[[Any, Path, Mapping[str, str]], list[str]] = lambda parameters, root, digests: []

    def run(self, context: Context) -> None:
        """Do the stage's work: read ``context.inputs``, write ``context.outputs``."""
        importlib.import_module(f"components.{self.name}.stage").run(context)


@dataclass(frozen=True)
class Metric:
    """A final metric of what a stage made, kept by DVC, MLflow and the registry.

    Attributes:
        name: stable name, ``snake_case``.
        value: its value.
        higher_is_better: its direction; ``None`` where neither is better.
        stderr: standard error of the value, in its unit.
        n: number of observations behind it.
        eval_set: name of the *input* it was measured on, if it was measured on one.
        baselines: honest baselines on the same observations, by name.
    """

    name: str
    value: float
    higher_is_better: bool | None = None
    stderr: float | None = None
    n: int | None = None
    eval_set: str | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)


class Interrupted(Exception):
    """Raised by a component that saw ``context.stopping``, after it saved its checkpoint."""


@dataclass
class Context:
    """What a running component is given.

    Attributes:
        parameters: the validated parameter model.
        seed: the workspace's seed; a component derives all its randomness from it.
        inputs: path of each declared input, by name.
        outputs: empty staging folder for each declared output, by name; published by rename when ``run`` returns.
        scratch: folder named by the fingerprint; survives crashes, so checkpoints go here.
        cache: folder of this component that all runs share, for files that are named by all that made them; ``None``:
            nothing is kept for other runs.
        spread: has copies of a model on a cluster share what it is asked: ``spread(load, folder, function, shares)``
            gives ``function(load(folder), share)`` of each share, in their order; both functions are importable by
            their names. ``None``: everything is done here.
        help: has copies on a cluster work beside this process: ``help(load, folder, function, shares, own)`` gives the
            place of each share and ``function`` of it, as they are done; ``own`` is what ``load`` would make of the
            folder, in this process. Asked for no shares, it says what is wrong with the cluster. Only the main process
            asks. ``None``: there are no copies.
        dismiss: ends the copies, before a training that may need what they hold; the next ``help`` starts others.
        instance: instance of a ``foreach`` stage.
        elastic: a training may go on from a checkpoint that another number of processes made.
        events: the event log that the harness follows: curves, pictures, final metrics, progress.
        tokens: tokens processed so far, for the receipt; a component adds to it.
        device: device the work ran on, for the receipt.
        environment: what else the numbers depend on and only the work itself finds out, such as the precision that was
            detected; for the receipt.
    """

    parameters: Any
    seed: int
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    scratch: Path
    instance: str | None = None
    elastic: bool = False
    cache: Path | None = None
    spread: Spread | None = None
    help: Help | None = None
    dismiss: Callable[[], None] = lambda: None
    events: Path | None = None
    tokens: int = 0
    device: str = "cpu"
    stopping: bool = False
    metrics: list[Metric] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    headline: str | None = None

    @property
    def is_main(self) -> bool:
        """True on the one process that logs and writes (rank 0)."""
        return int(os.environ.get("RANK", "0")) == 0

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Add a point to the live curves. Never blocks on a tracking server."""
        self._emit("point", step=step, metrics={name: float(value) for name, value in metrics.items()})

    def record(self, metric: Metric, *, headline: bool = False) -> None:
        """Record a final metric; the ``headline`` one is shown on the run's last screen."""
        self.metrics.append(metric)
        if headline:
            self.headline = metric.name
        self._emit("metric", **asdict(metric))

    def report(self, body: Mapping[str, Any]) -> None:
        """Write ``report.json``: everything that the stage's page shows besides the pictures (``components/pages``)."""
        if self.is_main:
            text = json.dumps(body, indent=1, ensure_ascii=False) + "\n"
            (self.outputs["report"] / "report.json").write_text(text, encoding="utf-8")

    def figure(self, name: str, figure: Figure) -> Path:
        """Save a matplotlib figure as ``<report>/<name>.png`` (metadata-free, so equal figures are equal bytes)."""
        path = self.outputs["report"] / f"{name}.png"
        if self.is_main:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
        self.attach(path)
        return path

    def attach(self, path: Path) -> None:
        """Show a file of the report folder in the tracking server as soon as it can be reached."""
        self._emit("artifact", path=str(path))

    def warn(self, message: str) -> None:
        """Show the user something that does not stop the stage; it is kept in the receipt."""
        self.warnings.append(message)
        self._emit("warning", message=message)

    @contextmanager
    def progress(self, description: str, total: float, unit: str = "it") -> Iterator[Callable[..., None]]:
        """Progress of long work.

        Yields a function ``advance(n=1, **fields)``; ``fields`` (loss, tokens_per_second ...) are shown beside the
        bar. Calls are cheap: at most four events a second are written.
        """
        done, last = 0.0, 0.0

        def advance(n: float = 1, **fields: float) -> None:
            nonlocal done, last
            done += n
            now = time.monotonic()
            if now - last >= 0.25 or done >= total:
                last = now
                self._emit("progress", description=description, done=done, total=total, unit=unit, fields=fields)

        yield advance

    def _emit(self, kind: str, **body: Any) -> None:
        if self.events is None or not self.is_main:
            return
        events.append(self.events, kind, **body)
