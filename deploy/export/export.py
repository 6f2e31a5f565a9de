"""Writing a version into a folder: verified first, whole or not at all, readable by all."""

from __future__ import annotations

import filecmp
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core import adapted, files
from core.errors import InputProblem
from core.workspace import Workspace
from deploy.export import card, gguf_file, gguf_vocabulary, llama_cpp, ollama
from deploy.export.attestation import Attestation
from deploy.export.weights import Weights
from deploy.gateway.local_generation import checked_files
from deploy.merging import merged_copy
from registry.db.database import open as open_registry
from registry.integrity.history import resolve
from registry.integrity.signing import Statement
from registry.integrity.verification import signatures_of
from registry.lineage.trace import Trace
from registry.lineage.trace import trace as trace_model
from registry.store.run_locks import running

Format = Literal["hf", "gguf", "adapter", "ollama"]
DEFAULT_KIND = "f16"
_TOKENIZER = ("tokenizer*.json", "tokenizer.model", "special_tokens_map.json", "chat_template.jinja")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        version: ``model:version``.
        names: of the files, sorted.
        signed: whether a signature covers the folder.
        notes: what the user should know, a sentence each.
    """

    version: str
    folder: Path
    names: list[str]
    signed: bool
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        return {"version": self.version, "folder": str(self.folder), "files": self.names, "signed": self.signed,
                "notes": self.notes}  # fmt: skip


@dataclass
class _Source:
    """A verified version, and what its export needs.

    Attributes:
        whole: its files, with an adapter merged into them.
    """

    version: str
    files: Path
    trace: Trace
    whole: Path
    architecture: str
    maker: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def stem(self) -> str:
        return self.version.replace(":", "-v")


def export(
    workspace: Workspace, reference: str, target: Path, form: Format, kinds: Sequence[str] = (DEFAULT_KIND,)
) -> Exported:
    """Write the version that ``reference`` names into the folder ``target``.

    Args:
        target: made here; one that is there has to be empty.
        kinds: of numbers, for GGUF: :data:`deploy.export.gguf_file.KINDS`, and those of llama.cpp's quantizer.

    Raises:
        InputProblem: the folder is not empty, or this model cannot be written in that form; nothing is written then.
        UnknownReference, MissingBytes: there is nothing to export.
        InvalidBytes: the files are not what was registered or signed.
        KeyProblem: they were signed by a key that is not trusted here, or this home's own cannot be used.
    """
    if found := [*_target_problems(target), *_kind_problems(form, kinds)]:
        raise InputProblem(found)
    with running(workspace.home):  # no collection takes the version's files meanwhile
        return _export(workspace, reference, target, form, kinds)


def _export(workspace: Workspace, reference: str, target: Path, form: Format, kinds: Sequence[str]) -> Exported:
    version, folder, _ = checked_files(workspace, reference)
    config = files.read_json(folder / "config.json", {})
    architecture = next(iter(config.get("architectures") or ()), "a model of no architecture")
    if found := _model_problems(folder, form, architecture):
        raise InputProblem([f"{version}: {problem}" for problem in found])
    whole = folder if form == "adapter" else merged_copy(workspace.home, folder)
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        row = resolve(workspace, session, version)
        traced = trace_model(session, version)
        signatures, statement = signatures_of(session, row), Statement.of(session, row)
        data = card.data_card(workspace, session, traced)
        maker = dict(row.execution.parameters)
        session.expunge_all()
    source = _Source(version, folder, traced, whole, architecture, maker)

    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".partial", dir=target.parent) as partial:
        staging = Path(partial) / "files"  # the temporary folder itself is closed to others
        staging.mkdir()
        described, use = _WRITERS[form](source, staging, kinds)
        attestation = Attestation(signatures[-1] if signatures else None, statement, _is_unchanged(source, staging))
        text = card.Card(
            traced, form, described, architecture, _count(whole), data, use, attestation.explain(), source.notes
        ).render()
        (staging / "README.md").write_text(text, encoding="utf-8")
        signed = attestation.write(workspace, staging)
        for path in sorted(staging.rglob("*")):
            if path.is_file():
                files.as_umask(path)
                files.sync(path)
        names = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
        try:
            os.rename(staging, target)
        except OSError as error:
            raise InputProblem(f"{target} cannot be written: {error.strerror}; name another folder") from None
    files.sync(target.parent)
    if not signed:
        source.notes.append(f"{version} is not signed, so the folder is not either; promoting it signs it")
    return Exported(version, target, names, signed, source.notes)


def _target_problems(target: Path) -> list[str]:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        return [f"{target} is no folder; name a new one"]
    if target.is_dir() and any(target.iterdir()):
        return [f"{target} is not empty; name a new folder, or empty that one"]
    return []


def _kind_problems(form: Format, kinds: Sequence[str]) -> list[str]:
    if form not in ("gguf", "ollama"):
        return [] if list(kinds) == [DEFAULT_KIND] else ["--quantize: only for --format gguf and ollama"]
    found = []
    for kind in kinds:
        if kind in llama_cpp.KINDS and llama_cpp.find(llama_cpp.QUANTIZER) is None:
            found.append(llama_cpp.missing_quantizer(kind))
        elif kind not in gguf_file.KINDS and kind not in llama_cpp.KINDS:
            known = ", ".join([*gguf_file.KINDS, *llama_cpp.KINDS])
            found.append(f"--quantize {kind}: no such kind of numbers; known: {known}")
    if form == "ollama" and len(kinds) > 1:
        found.append("--quantize: a Modelfile is made of one file; name one kind")
    return found


def _model_problems(folder: Path, form: Format, architecture: str) -> list[str]:
    """Why the model cannot be written in that form, found without its weights."""
    if problem := adapted.problem(folder):
        return [problem]
    if form == "adapter":
        return [] if adapted.is_adapted(folder) else ["it has no adapter, its weights are whole; use --format hf"]
    if form == "hf":
        return []
    if not architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return [f"GGUF: {architecture} is no decoder that generates text; use --format hf"]
    found = [] if llama_cpp.find(llama_cpp.CONVERTER) else gguf_file.problems(folder)
    if form == "ollama":
        try:
            _turns(folder)
        except InputProblem as problem:
            found += problem.problems
    return found


# -- the forms -------------------------------------------------------------------------------------------------------


def _write_hf(source: _Source, staging: Path, kinds: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    for path in sorted(source.whole.rglob("*")):
        copy = staging / path.relative_to(source.whole)
        if path.is_dir():
            copy.mkdir()
        else:
            shutil.copyfile(path, copy)
    _forget_sample_length(source, staging / "generation_config.json")
    if source.whole != source.files:
        source.notes.append("The adapter was merged into its base's weights for this folder.")
    described = [("*.safetensors", "weights"), ("config.json", "architecture")]
    for name, what in (("tokenizer.json", "tokenizer"), ("chat_template.jinja", "chat template"),
                       ("generation_config.json", "how it generates")):  # fmt: skip
        described += [(name, what)] if (staging / name).is_file() else []
    load = "AutoModelForCausalLM" if card.pipeline_tag(source.architecture) == "text-generation" else None
    load = load or ("AutoModelForSeq2SeqLM" if "ConditionalGeneration" in source.architecture else None)
    load = load or "AutoModelForSequenceClassification"
    use = [
        "```python", f"from transformers import {load}, AutoTokenizer", "", 'folder = "."  # of these files',
        f"model = {load}.from_pretrained(folder)", "tokenizer = AutoTokenizer.from_pretrained(folder)", "```",
    ]  # fmt: skip
    return described, use


def _write_adapter(source: _Source, staging: Path, kinds: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    for path in sorted((source.files / adapted.FOLDER).iterdir()):
        shutil.copyfile(path, staging / path.name)
    for pattern in _TOKENIZER:
        for path in sorted(source.files.glob(pattern)):
            shutil.copyfile(path, staging / path.name)
    origin = card.base_origin(source.trace)
    base = (card.hub_id(origin) if origin else None) or origin
    config = files.read_json(staging / adapted.CONFIG, {})
    if not config.get("base_model_name_or_path"):  # an adapter that was imported stays as it came
        files.write_json(staging / adapted.CONFIG, {**config, "base_model_name_or_path": card.hub_id(origin or "")})
    weights = files.read_json(staging / adapted.BASE, {}).get("weights", {})
    named = "; ".join(f"{name} sha256 {digest}" for name, digest in sorted(weights.items()))
    source.notes.append(f"The base, {base or 'which this folder does not hold'}, has these weights: {named}.")
    described = [(adapted.WEIGHTS, "the adapter"), (adapted.CONFIG, "its shape, for PEFT"),
                 (adapted.BASE, "sha256 of the base's weights")]  # fmt: skip
    use = ["```python", "from peft import PeftModel", "from transformers import AutoModelForCausalLM", "",
           f'base = AutoModelForCausalLM.from_pretrained("{card.hub_id(origin or "") or "FOLDER OF THE BASE"}")',
           'model = PeftModel.from_pretrained(base, ".")', "```"]  # fmt: skip
    return described, use


def _write_gguf(source: _Source, staging: Path, kinds: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    described = []
    for kind in kinds:
        name = f"{source.stem}-{kind}.gguf"
        _gguf(source, staging / name, kind)
        described.append((name, f"weights in {kind}, tokenizer and chat template"))
    use = ["```sh", f"llama-cli --model {described[0][0]}", "```"]
    return described, use


def _write_ollama(source: _Source, staging: Path, kinds: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    described, _ = _write_gguf(source, staging, kinds)
    found = _turns(source.whole)
    config = files.read_json(source.whole / "config.json", {})
    vocabulary = gguf_vocabulary.read(source.whole, config.get("vocab_size", 0))
    special, ids = gguf_vocabulary.special_tokens(source.whole), vocabulary.special
    text = ollama.modelfile(
        described[0][0],
        found,
        gguf_vocabulary.control_tokens(source.whole),
        special.get("eos_token"),
        files.read_json(source.whole / "generation_config.json", {}),
        vocabulary.tokens[ids["bos"]] if vocabulary.add["bos"] and "bos" in ids else None,
    )
    (staging / "Modelfile").write_text(text, encoding="utf-8")
    if "system" not in found.around:
        source.notes.append("The chat template has no system message, so the Modelfile leaves one out.")
    use = ["```sh", f"ollama create {source.version.partition(':')[0]} -f Modelfile", "```"]
    return [("Modelfile", "for `ollama create`"), *described], use


_WRITERS: dict[str, Callable[[_Source, Path, Sequence[str]], tuple[list[tuple[str, str]], list[str]]]] = {
    "hf": _write_hf, "gguf": _write_gguf, "adapter": _write_adapter, "ollama": _write_ollama,
}  # fmt: skip


def _gguf(source: _Source, target: Path, kind: str) -> None:
    """One GGUF file: by the user's converter, else here; kinds that only the quantizer knows from a file in f32."""
    with tempfile.TemporaryDirectory(prefix=".gguf-", dir=target.parent) as scratch:
        first = Path(scratch) / "first.gguf" if kind in llama_cpp.KINDS else target
        written = "f32" if kind in llama_cpp.KINDS else kind
        plain = _with_plain_template(source.whole, Path(scratch) / source.stem)  # named for the converter
        why = llama_cpp.convert(plain, first, written)
        if why is not None:
            if llama_cpp.find(llama_cpp.CONVERTER) and (found := gguf_file.problems(source.whole)):
                raise InputProblem([why, *found])
            if llama_cpp.find(llama_cpp.CONVERTER):
                source.notes.append(f"{target.name} was written by Stemma ({why}).")
            first.unlink(missing_ok=True)
            about = {"general.name": source.version, "stemma.version": source.version,
                     "stemma.digest": source.trace.root.digest}  # fmt: skip
            if licence := card.base_license(source.trace):
                about["general.license"] = licence
            gguf_file.write(source.whole, first, written, about)
        if first != target:
            llama_cpp.quantize(first, target, kind)


def _with_plain_template(folder: Path, copy: Path) -> Path:
    """The folder as links, its chat template without the marks that only transformers knows."""
    template = gguf_vocabulary.chat_template(folder)
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).symlink_to(path.resolve())
    if template is not None:
        (copy / "chat_template.jinja").unlink(missing_ok=True)
        (copy / "chat_template.jinja").write_text(gguf_vocabulary.plain_template(template), encoding="utf-8")
    return copy


def _turns(folder: Path) -> ollama.Turns:
    template = gguf_vocabulary.chat_template(folder)
    if template is None:
        raise InputProblem("Ollama: the model has no chat template, so it cannot chat; use --format gguf")
    return ollama.turns(template, gguf_vocabulary.special_tokens(folder))


def _forget_sample_length(source: _Source, path: Path) -> None:
    """Drop the length of training's samples, which earlier releases left in a model's generation settings."""
    settings = files.read_json(path, {})
    mine = source.maker.get("max_new_tokens")
    if mine is not None and settings.get("max_new_tokens") == mine:
        settings.pop("max_new_tokens")
        files.write_json(path, settings)
        source.notes.append(f"generation_config.json limited answers to training's {mine} tokens; the export does not.")


def _is_unchanged(source: _Source, staging: Path) -> bool:
    """Whether every registered file is in the folder as it was registered."""
    return all(
        (staging / path.relative_to(source.files)).is_file()
        and filecmp.cmp(staging / path.relative_to(source.files), path, shallow=False)
        for path in source.files.rglob("*")
        if path.is_file()
    )


def _count(folder: Path) -> int:
    """Numbers in the weights, those that two layers share counted once, as they are stored."""
    weights = Weights(folder)
    return sum(math.prod(weights.shape(name)) for name in weights.names)
