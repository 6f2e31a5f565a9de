"""The model card: ``README.md`` with the header that model hubs read, all of it from the registry's lineage."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ruamel.yaml import YAML
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import dvc
from core.errors import DvcError
from core.workspace import Workspace
from registry.db.schema import IMPORT, Artifact, Event
from registry.errors import InvalidBytes
from registry.lineage.catalog import MetricView
from registry.lineage.trace import ArtifactNode, ExecutionNode, Trace
from registry.store.manifests import FolderManifests

_LICENCE = " (licence "  # how an origin ends
_LIBRARY = {"adapter": "peft", "gguf": "gguf", "ollama": "gguf"}
_DATA_CARD = "reports/curate"


@dataclass(frozen=True)
class Card:
    """What a model card says.

    Attributes:
        form: of the exported folder: ``hf``, ``gguf``, ``adapter`` or ``ollama``.
        files: (name, what it is) of the folder's main files.
        architecture: the model's class in transformers.
        data: ``report.json`` of the curation that the model descends from; ``None`` where there is none.
        use: how to load it, in Markdown.
        verify: how to check the signature, in Markdown.
        notes: what a user of the folder has to know, a sentence each.
    """

    trace: Trace
    form: str
    files: Sequence[tuple[str, str]]
    architecture: str
    parameters: int
    data: dict[str, Any] | None
    use: Sequence[str]
    verify: Sequence[str]
    notes: Sequence[str]

    @property
    def name(self) -> str:
        return f"{self.trace.model}:{self.trace.version}"

    def render(self) -> str:
        """The whole file."""
        sections = {
            "What it is": self._what(),
            "Use": self.use,
            "How it was made": self._made(),
            "Data": self._data(),
            "Metrics": self._metrics(),
            "Lineage": self._lineage(),
            "Verify": self.verify,
        }
        lines = ["---", self._header().rstrip(), "---", "", f"# {self.trace.model}", ""]
        for title, body in sections.items():
            lines += [f"## {title}", "", *body, ""]
        return "\n".join(lines).rstrip() + "\n"

    def _header(self) -> str:
        licence = base_license(self.trace)
        header: dict[str, Any] = {"license": licence or "other"}
        if licence is None:
            header["license_name"] = "unknown"
        if origin := base_origin(self.trace):
            if hub_id(origin):
                header["base_model"] = hub_id(origin)
                header["base_model_relation"] = _relation(self.form)
        header["library_name"] = _LIBRARY.get(self.form, "transformers")
        header["pipeline_tag"] = task = pipeline_tag(self.architecture)
        if sources := [str(source["name"]) for source in (self.data or {}).get("sources") or ()]:
            header["datasets"] = sources
        header["tags"] = ["stemma", *([] if self.form == "hf" else [self.form])]
        if self.trace.metrics:
            header["model-index"] = [{"name": self.trace.model, "results": list(self._results(task))}]
        text = io.StringIO()
        yaml = YAML()
        yaml.width = 4096
        yaml.dump(header, text)
        return text.getvalue()

    def _results(self, task: str) -> Iterable[dict[str, Any]]:
        by_set: dict[tuple[str, str | None], list[MetricView]] = {}
        for metric in self.trace.metrics:
            of_set = by_set.setdefault((metric.stage, metric.eval_set), [])
            if all(metric.name != other.name for other in of_set):  # equal bytes may have been made twice
                of_set.append(metric)
        for (stage, digest), metrics in by_set.items():
            yield {
                "task": {"type": task},
                "dataset": {"type": "stemma", "name": f"{stage}, {_short(digest) if digest else 'its own data'}"},
                "metrics": [
                    {"type": metric.name, "name": metric.name, "value": metric.value,
                     **({"stderr": metric.stderr} if metric.stderr is not None else {})} for metric in metrics
                ],
            }  # fmt: skip

    def _what(self) -> list[str]:
        origin = base_origin(self.trace)
        from_ = f"It goes back to {origin}. " if origin else "It was trained from scratch. "
        aliases = f" ({', '.join(f'@{alias}' for alias in self.trace.aliases)})" if self.trace.aliases else ""
        lines = [
            f"`{self.name}`{aliases} of a Stemma registry: {self.architecture}, "
            f"{self.parameters:,} parameters. {from_}"
            f"Licence of the base: {base_license(self.trace) or 'unknown'}.",
            "",
            *_table(("file", "what it is"), [(f"`{name}`", what) for name, what in self.files]),
        ]
        return [*lines, *(f"\n{note}" for note in self.notes)]

    def _made(self) -> list[str]:
        rows = [
            (step.stage, step.component_version, f"`{step.code_digest[:12]}`", _commit(step),
             "" if step.seed is None else step.seed, _day(step.started), _value(step.tokens), _value(step.device))
            for step in self._steps()
        ]  # fmt: skip
        header = ("stage", "version", "code", "git commit", "seed", "day", "tokens", "device")
        lines = [*_table(header, rows), ""]
        for step in self._steps():
            changed = json.dumps(step.non_default, sort_keys=True)
            lines.append(f"- {step.stage}: {f'`{changed}`' if step.non_default else 'default parameters'}")
        if (last := self.trace.root.made_by) is not None:
            lines += ["", f"All parameters of {last.stage}, which made these weights:", "", "```json",
                      json.dumps(last.parameters, indent=1, sort_keys=True), "```"]  # fmt: skip
        return lines

    def _steps(self) -> list[ExecutionNode]:
        """The executions in the order they were made in."""
        return sorted(self.trace.executions(), key=lambda step: (step.started or 0.0, step.id))

    def _data(self) -> list[str]:
        if self.data is None:
            return ["The lineage has no curated text."]
        metrics = self.data.get("metrics") or {}
        lines = [
            f"Curated from {metrics.get('documents_read', 0):,} documents, of which "
            f"{metrics.get('documents_kept', 0):,} were kept (digest `{self.data.get('corpus_digest')}`).",
            "",
        ]
        given = {name: self.data.get(name) or () for name in ("sources", "rules")}
        sources = [(each["name"], _value(each.get("documents")), _value(each.get("characters")))
                   for each in given["sources"]]  # fmt: skip
        lines += _table(("source", "documents", "characters"), sources)
        splits = [(name, _value(each.get("documents")), _licences(each))
                  for name, each in (self.data.get("splits") or {}).items()]  # fmt: skip
        lines += ["", *_table(("split", "documents", "licences"), splits)] if splits else []
        rules = [(each["rule"], _value(each.get("dropped"))) for each in given["rules"]]
        return [*lines, "", *_table(("rule", "documents dropped"), rules)] if rules else lines

    def _metrics(self) -> list[str]:
        if not self.trace.metrics:
            return ["None was measured."]
        rows = [
            (f"**{metric.name}**" if metric.headline else metric.name, _measured(metric), _value(metric.n),
             ", ".join(f"{name} {value:.4g}" for name, value in metric.baselines.items()) or "none", metric.stage,
             f"`{metric.eval_set[:12]}`" if metric.eval_set else "")
            for metric in self.trace.metrics
        ]  # fmt: skip
        header = ("metric", "value ± standard error", "n", "baselines", "measured by", "evaluation set")
        return _table(header, rows)

    def _lineage(self) -> list[str]:
        rows = [(each.type, f"`{each.name}`", f"{each.hash_algo} `{each.digest}`", _value(each.model), _origin(each))
                for each in self.trace.artifacts()]  # fmt: skip
        return [
            "Everything that these weights descend from, the model itself first.",
            "",
            *_table(("kind", "path", "digest", "version", "from"), rows),
        ]


def data_card(workspace: Workspace, session: Session, trace: Trace) -> dict[str, Any] | None:
    """``report.json`` of the newest curation that a model descends from, from DVC's cache or the workspace."""
    ids = [step.id for step in trace.executions()]
    reports = select(Event).where(Event.execution_id.in_(ids), Event.direction == "OUTPUT", Event.path == _DATA_CARD)
    manifests = FolderManifests(workspace)
    for event in session.scalars(reports.order_by(Event.id.desc())):
        digest = session.get_one(Artifact, event.artifact_id).digest
        try:
            md5 = (manifests.files(digest, event.path) or {}).get("report.json", "")
            cached = dvc.object_path(dvc.cache_folder(workspace.root), md5) if md5 else None
            places = [cached, workspace.root / event.path / "report.json"] if cached else []
            found = next((path for path in places if path.is_file()), None)
        except (InvalidBytes, DvcError):
            continue
        if found is not None:
            body: dict[str, Any] = json.loads(found.read_bytes())
            return body
    return None


def base_origin(trace: Trace) -> str | None:
    """Where the weights were imported from; ``None`` where they were trained from scratch."""
    for step in trace.executions():
        if step.stage == IMPORT and not step.inputs:  # an adapter's import read its base
            origin, revision = step.parameters.get("origin"), step.parameters.get("revision")
            return f"{origin}@{revision}" if revision else str(origin)
    return next((node.origin.partition(_LICENCE)[0] for node in trace.artifacts() if node.origin), None)


def hub_id(origin: str) -> str | None:
    """``owner/name`` of an origin ``owner/name@commit`` on the hub."""
    name, at, _ = origin.partition("@")
    return name if at and name.count("/") == 1 and not name.startswith((".", "/", "~")) else None


def base_license(trace: Trace) -> str | None:
    """The licence that was given when the base was imported, in lower case as model hubs name it."""
    origins = (node.origin.partition(_LICENCE)[2].removesuffix(")") for node in trace.artifacts() if node.origin)
    given = (*(step.parameters.get("license") for step in trace.executions()), *origins)
    return next((str(value).lower() for value in given if value and value != "unknown"), None)


def pipeline_tag(architecture: str) -> str:
    """The hub's name of what the model does."""
    if architecture.endswith("ForConditionalGeneration"):
        return "text2text-generation"
    return "text-classification" if architecture.endswith("ForSequenceClassification") else "text-generation"


def _relation(form: str) -> str:
    return {"adapter": "adapter", "gguf": "quantized", "ollama": "quantized"}.get(form, "finetune")


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    def line(cells: Iterable[object]) -> str:
        return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"

    return [line(header), f"|{'---|' * len(header)}", *(line(row) for row in rows)]


def _measured(metric: MetricView) -> str:
    return f"{metric.value:.4g}" + (f" ± {metric.stderr:.2g}" if metric.stderr is not None else "")


def _value(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _commit(step: ExecutionNode) -> str:
    return f"`{step.git_commit[:12]}`{' (changed)' if step.git_dirty else ''}" if step.git_commit else ""


def _day(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat() if seconds else ""


def _origin(node: ArtifactNode) -> str:
    if node.origin:
        return node.origin
    return node.made_by.stage if node.made_by else ("" if node.repeated or not node.complete else "raw data")


def _licences(split: dict[str, Any]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in (split.get("licenses") or {}).items())


def _short(digest: str) -> str:
    return f"evaluation set {digest[:12]}"
