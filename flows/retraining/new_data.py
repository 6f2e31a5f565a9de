"""What raw data there is that the champion, and whatever was judged beside it, was not made of: by content."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import dvc
from core.errors import InputProblem
from core.workspace import Workspace
from flows.pipeline.promotion import ALIAS
from flows.pipeline.raw_data import RAW
from flows.retraining.candidate import decoder
from flows.retraining.documents import Content, unseen
from flows.retraining.parameters import FROZEN, RetrainParameters
from flows.retraining.queue import pending
from flows.retraining.sources import RawFile, Seen, look, matches
from registry.db.database import open as open_registry
from registry.db.references import current, find_model
from registry.db.schema import Artifact, Event, Execution, ModelVersion, Promotion
from registry.errors import UnknownReference
from registry.lineage.trace import RAW_TYPES
from registry.lineage.traversal import chunks, upstream
from registry.promotion.parameters import PromotionParameters
from registry.store.manifests import FolderManifests

SHOWN = 5  # files that a sentence names


@dataclass
class Known:
    """What the champion and the candidates that the gate has judged were made of.

    Attributes:
        champion: ``base:3``.
        judged: every version that counts, the champion among them.
        files: md5 of every raw file, and the name it had.
        hub: datasets of the hub that were read, by what decides their content.
        notes: what could not be found out.
    """

    champion: str
    judged: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    hub: set[tuple[str, ...]] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Line:
    """One file of the listing; ``state`` is new, known, kept (the held-out set) or unread (by any source)."""

    name: str
    path: str
    bytes: int
    md5: str
    state: str


@dataclass
class NewData:
    """What was found.

    Attributes:
        champion: the version that the data was compared with.
        new: files with content that is in no known file, and that a source of ``curate`` reads.
        documents: their documents that no known file holds.
        hub: datasets of the hub that ``curate.sources`` names and no known version read, in words.
        outside: new and known files that lie outside ``data/raw`` and belong into it.
        minimum: ``retrain.minimum_documents``.
        judged: every version that the data was compared with.
        listing: all files, by name.
        notes: what else is worth knowing.
    """

    champion: str
    new: list[RawFile]
    documents: int
    hub: list[str]
    outside: list[RawFile]
    minimum: int
    judged: list[str] = field(default_factory=list)
    listing: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def enough(self) -> bool:
        """True where there is something to train on; datasets of the hub are not counted, they suffice."""
        return bool(self.hub) or (bool(self.new) and self.documents >= self.minimum)

    def __str__(self) -> str:
        if not self.new and not self.hub:
            others = [version for version in self.judged if version != self.champion]
            beside = f" or another version that was judged ({_some(others)})" if others else ""
            unread = [line.name for line in self.listing if line.state == "unread"]
            apart = f"{_some(unread)}: read by no source of curate; all other" if unread else "all"
            return f"nothing new: {apart} raw data went into {self.champion}{beside}"
        what = [f"{_count(self.documents, 'new document')} in {_some([file.name for file in self.new])}"]
        what = [*(what if self.new else []), *self.hub]
        if not self.enough:
            return f"{what[0]}: fewer than the {self.minimum} that retrain.minimum_documents requires"
        return f"{'; '.join(what)} that {self.champion} was not made of"

    def as_dict(self) -> dict[str, Any]:
        return {
            "champion": self.champion,
            "enough": self.enough,
            "documents": self.documents,
            "minimum_documents": self.minimum,
            "files": [{"name": f"{RAW}/{file.name}", "from": str(file.path), "md5": file.md5} for file in self.new],
            "hub": self.hub,
            "compared_with": self.judged,
            "notes": self.notes,
            "message": str(self),
        }


def find(workspace: Workspace, values: Mapping[str, Any], rules: RetrainParameters) -> NewData:
    """Compare the raw data that there is now with what is known; runs no stage and changes nothing.

    Args:
        values: the content of ``params.yaml``.

    Raises:
        InputProblem: the model has no champion or no rules, a source is not there, or its files are read by nothing.
        RegistryError: the registry cannot be used.
    """
    problems: list[str] = []
    globs = list(reads(values))
    with _collecting(problems):
        _require_a_model(workspace, rules)
    with _collecting(problems):
        known = known_to(workspace, rules.model)
    with _collecting(problems):
        seen = look(workspace.root, rules.sources)
        _require_readers(seen, globs)
    if problems:
        raise InputProblem(problems)
    return _compare(workspace, values, rules, known, seen, globs)


def known_to(workspace: Workspace, model: str) -> Known:
    """Raw data of the model's champion and of every version that was put before the gate, or before a person.

    Raises:
        InputProblem: there is no champion to compare with.
    """
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        try:
            registered = find_model(session, model)
        except UnknownReference as error:
            raise InputProblem(f"params.yaml: retrain.model: {error}") from None
        standing = current(session, registered.id, ALIAS)
        if standing is None:
            raise InputProblem(
                f"params.yaml: retrain.model: {model} has no {ALIAS} to compare new data with; make one with "
                f"`stemma run`, or `stemma promote {model} --to {ALIAS}`"
            )
        known = Known(str(standing.to_version))
        listings = FolderManifests(workspace)
        judged = select(Promotion.to_version_id).filter_by(model_id=registered.id, alias=ALIAS)
        waiting = [int(name.partition(":")[2]) for name in pending(workspace.home) if name.startswith(f"{model}:")]
        versions = select(ModelVersion).filter_by(model_id=registered.id).order_by(ModelVersion.version)
        for version in session.scalars(versions.where(ModelVersion.id.in_(judged) | ModelVersion.version.in_(waiting))):
            known.judged.append(str(version))
            _add_lineage(session, version, listings, known)
    return known


def reads(values: Mapping[str, Any]) -> Iterator[str]:
    """The globs under ``data/raw`` that ``curate`` reads, as ``params.yaml`` has them."""
    curate = values.get("curate") or {}
    for source in curate.get("sources") or ():
        if source.get("type") == "files":
            yield from source.get("paths") or ()
        elif source.get("type") == "huggingface" and str(source.get("id", "")).startswith(f"{RAW}/"):
            yield f"{source['id']}/**/*"
    for files in ((curate.get("instructions") or {}).get("files") or {}).values():
        if isinstance(files, list | tuple):
            yield from files
    yield from (curate.get("labels") or {}).get("files") or ()
    for judge in (*(curate.get("classifiers") or ()), (curate.get("quality") or {}).get("perplexity")):
        if isinstance(judge, Mapping):
            yield from (name for name in (judge.get("model"), *(judge.get("languages") or {}).values()) if name)
    if isinstance(finder := curate.get("ner"), Mapping) and "model" in finder:
        yield f"{finder['model']}/**/*"


def unread(values: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """A warning for files of ``data/raw``, by workspace-relative path, that ``curate`` does not read."""
    globs = list(reads(values))
    left = [name for name in names if not any(matches(name, glob) for glob in globs)]
    return [f"{_some(left)}: read by no source of curate yet; name it in curate.sources"] if left else []


@contextlib.contextmanager
def _collecting(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except InputProblem as problem:
        problems += problem.problems


def _require_a_model(workspace: Workspace, rules: RetrainParameters) -> None:
    if rules.model not in PromotionParameters.load(workspace.root).rules:
        raise InputProblem(
            f"params.yaml: retrain.model: {rules.model} has no rules in the section promotion, so no candidate would "
            "be judged; add them"
        )
    if rules.start == "finetune" and rules.model == decoder().registered_model:
        raise InputProblem(
            f"params.yaml: retrain.model: with start: finetune, {rules.model} stays as it is; name a model that is "
            "made of it"
        )


def _require_readers(seen: Seen, globs: Iterable[str]) -> None:
    unread = [file.name for file in seen.outside if not any(matches(f"{RAW}/{file.name}", glob) for glob in globs)]
    folders = sorted({name.split("/")[0] for name in unread})
    problems = [
        f"params.yaml: retrain.sources: what goes into {RAW}/{folder} (such as {_first(unread, folder)}) is read by no "
        f"source of curate; add {{type: files, paths: [{RAW}/{folder}/**/*]}} to curate.sources, or a narrower path "
        "to retrain.sources"
        for folder in folders
    ]
    if problems:
        raise InputProblem(problems)


def _compare(
    workspace: Workspace,
    values: Mapping[str, Any],
    rules: RetrainParameters,
    known: Known,
    seen: Seen,
    globs: list[str],
) -> NewData:
    notes = list(known.notes)
    listing = [_line(file, known, globs) for file in sorted(seen.files.values(), key=lambda file: file.name)]
    new = [seen.files[line.name] for line in listing if line.state == "new"]
    if ignored := [line.name for line in listing if line.state == "unread"]:
        notes.append(f"{_some(ignored)}: read by no source of curate, so not new data")
    if seen.busy:
        notes.append(f"{_some(seen.busy)}: being written, so left for the next time")
    documents = 0
    if new:
        # The versions of the new files that are known come first: they are the likeliest to hold the same rows.
        names = {file.name for file in new}
        held = sorted(_contents(workspace, known, seen), key=lambda content: (content.name not in names, content.name))
        documents = unseen([Content(file.name, file.path) for file in new], held)
    hub = [text for key, text in _hub(values) if key not in known.hub]
    # New data that is not enough yet stays where it is.
    return NewData(
        known.champion, new, documents, hub, seen.outside, rules.minimum_documents, known.judged, listing, notes
    )


def _line(file: RawFile, known: Known, globs: Iterable[str]) -> Line:
    if file.name.split("/")[0] == FROZEN:
        state = "kept"
    elif file.md5 in known.files:
        state = "known"
    else:
        state = "new" if any(matches(f"{RAW}/{file.name}", glob) for glob in globs) else "unread"
    return Line(file.name, str(file.path), file.path.stat().st_size, file.md5, state)


def _contents(workspace: Workspace, known: Known, seen: Seen) -> Iterator[Content]:
    """The bytes of the known files, where they still are: here, or in DVC's cache."""
    here = {file.md5: file.path for file in seen.files.values()}
    cache: Path | None = None
    for md5, name in known.files.items():
        path = here.get(md5)
        if path is None:
            cache = cache or dvc.cache_folder(workspace.root)
            path = dvc.object_path(cache, md5)
        if path.is_file():
            yield Content(name, path)


def _add_lineage(session: Session, version: ModelVersion, listings: FolderManifests, known: Known) -> None:
    executions = upstream(session, version.execution_id)
    for chunk in chunks(executions):
        rows = session.execute(
            select(Artifact.digest, Event.path)
            .join(Event, Event.artifact_id == Artifact.id)
            .where(Event.execution_id.in_(chunk), Event.direction == "INPUT", Artifact.type.in_(RAW_TYPES))
        )
        for digest, path in rows.all():
            files = listings.files(digest, path)
            if files is None:
                note = (
                    f"the list of files of {path} {digest[:12]}, which {version} was made of, is not in DVC's cache, "
                    f"so all of them count as new; `dvc fetch {path}.dvc` may bring it back"
                )
                known.notes += [note] if note not in known.notes else []
            known.files |= {md5: name for name, md5 in (files or {}).items()}
        for values in session.scalars(select(Execution.parameters).where(Execution.id.in_(chunk))):
            known.hub |= {key for key, _ in _hub({"curate": values})}


def _hub(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Datasets of the hub among the sources: what decides their content, and the same in words."""
    for source in (values.get("curate") or {}).get("sources") or ():
        name = str(source.get("id", ""))
        if source.get("type") == "huggingface" and not name.startswith(("/", ".", "data/")):
            config, revision, split = (str(source.get(key) or "") for key in ("config", "revision", "split"))
            words = f"the dataset {name} at revision {revision}" if revision else f"the dataset {name}"
            yield (name, config, revision, split or "train"), words


def _some(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


def _first(names: list[str], folder: str) -> str:
    return next(name for name in names if name.split("/")[0] == folder)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
