"""Names and addresses, which have no form that a pattern finds: by a token-classification model of the user's.

The model is a Hugging Face folder under data/raw. Only safetensors are read, and no code of the folder runs. Each text
is replaced where the model finds an entity, by whole words. It runs on the processor, one thread a worker, so that the
result does not depend on their number.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from components.contract import StageParameters, outside_raw
from components.curate.privacy.placeholders import Placeholder, typed
from core.errors import InputProblem, first_line

_WINDOW, _OVERLAP = 512, 64  # tokens, at most; an entity at a window's end is seen whole in the next one
_BATCH = 16  # windows
_PLACEHOLDER = re.compile(r"\[[A-Z]+(?:_[0-9a-f]{4})?\]")
_PREFIX = re.compile(r"^[BIESLUO]-")


class EntityParameters(StageParameters):
    """A model that finds names, and what of that is replaced."""

    model: str = Field(description="Folder under data/raw with a Hugging Face token-classification model.")
    entities: dict[str, str] = Field(
        {"PER": "name"},
        min_length=1,
        description="What the model finds (its labels without B- and I-), and the placeholder for it: name is [NAME].",
    )
    threshold: float = Field(
        0.5, gt=0, lt=1, description="Probability from which a token is taken for a part of an entity."
    )

    @field_validator("model")
    @classmethod
    def _among_the_inputs(cls, value: str) -> str:
        if outside_raw(value):
            raise ValueError("must be a folder under data/raw/, where changes are tracked")
        return value

    @field_validator("entities")
    @classmethod
    def _placeholders_are_words(cls, value: dict[str, str]) -> dict[str, str]:
        if wrong := [name for name in value.values() if not re.fullmatch("[a-z]{1,20}", name)]:
            raise ValueError(f"a placeholder must be a word of a to z, not {wrong[0]!r}")
        return value


def digest(asked: EntityParameters | None, workspace: Path) -> str | None:
    """SHA-256 over the files of the model. Raises InputProblem if it is none."""
    if asked is None:
        return None
    folder = workspace / asked.model
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise InputProblem(
            f"curate.ner: {asked.model} holds no model (config.json and .safetensors): put a Hugging Face "
            "token-classification model there"
        )
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()


class Finder:
    """The model, loaded."""

    def __init__(self, asked: EntityParameters, folder: Path):
        from transformers import AutoModelForTokenClassification, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                folder, use_fast=True, local_files_only=True, trust_remote_code=False
            )
            self._model = AutoModelForTokenClassification.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, trust_remote_code=False
            ).eval()
        except Exception as error:  # every architecture has errors of its own
            raise InputProblem(
                f"curate.ner: {asked.model} cannot be loaded ({first_line(error)}): check the model"
            ) from error
        if not self._tokenizer.is_fast:
            raise InputProblem(f"curate.ner: {asked.model} has no tokenizer.json, by which places in a text are known")
        labels = {int(index): _PREFIX.sub("", label) for index, label in self._model.config.id2label.items()}
        if missing := sorted(set(asked.entities) - set(labels.values())):
            known = ", ".join(sorted(set(labels.values()) - {"O"}))
            raise InputProblem(f"curate.ner.entities: {asked.model} finds no {missing[0]!r}; it finds {known}")
        self._labels = {
            each: [index for index, label in labels.items() if label == each] for each in sorted(asked.entities)
        }
        self._asked = asked

    def redact(self, texts: Sequence[str], placeholder: Placeholder = typed) -> list[tuple[str, Counter[str]]]:
        """Each text with placeholders for what was found, and how many of each."""
        found: list[dict[int, str]] = [{} for _ in texts]  # by character
        for place, start, end, entity in self._tokens(texts):
            found[place].update(dict.fromkeys(range(start, end), entity))
        return [_replaced(text, marks, self._asked, placeholder) for text, marks in zip(texts, found, strict=True)]

    def _tokens(self, texts: Sequence[str]) -> Iterator[tuple[int, int, int, str]]:
        """Text, first and last character, and entity of each token that is a part of one."""
        import torch

        longest = min(self._tokenizer.model_max_length, self._model.config.max_position_embeddings, _WINDOW)
        windows = self._tokenizer(
            list(texts), truncation=True, max_length=longest, stride=min(_OVERLAP, longest // 4),
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        filled = [number for number, tokens in enumerate(windows["input_ids"]) if tokens]
        columns = {name: [values[number] for number in filled] for name, values in windows.items()}
        offsets, places = columns.pop("offset_mapping"), columns.pop("overflow_to_sample_mapping")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for begin in range(0, len(offsets), _BATCH):
                batch = {name: values[begin : begin + _BATCH] for name, values in columns.items()}
                with torch.inference_mode():
                    logits = self._model(**self._tokenizer.pad(batch, return_tensors="pt")).logits
                likely = logits.float().softmax(-1)
                for row, spans in enumerate(offsets[begin : begin + _BATCH]):
                    for entity, labels in self._labels.items():
                        probabilities = likely[row, : len(spans), labels].sum(-1).tolist()
                        for (start, end), probability in zip(spans, probabilities, strict=True):
                            if start < end and probability >= self._asked.threshold:
                                yield places[begin + row], start, end, entity
        finally:
            torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _loaded(asked: str, folder: Path, wanted: str) -> Finder:
    parameters = EntityParameters.model_validate_json(asked)
    if digest(parameters, folder) != wanted:
        raise InputProblem(
            f"{parameters.model}: is another model here than where the stage was started, or was changed since: put "
            "the same one there, and run the stage again"
        )
    return Finder(parameters, folder / parameters.model)


def load(asked: EntityParameters | None, workspace: Path, wanted: str | None) -> Finder | None:
    """The model, once a process, if it is the one that is wanted by its digest. Raises InputProblem."""
    return None if asked is None or wanted is None else _loaded(asked.model_dump_json(), workspace, wanted)


def _replaced(
    text: str, marks: dict[int, Any], asked: EntityParameters, placeholder: Placeholder
) -> tuple[str, Counter[str]]:
    counts: Counter[str] = Counter()
    if not marks:
        return text, counts
    for other in _PLACEHOLDER.finditer(text):
        for place in range(*other.span()):
            marks.pop(place, None)
    parts, done = [], 0
    # Words of which a part was found, and the blanks between those of one entity.
    words = [
        (word.start(), word.end(), next(filter(None, map(marks.get, range(*word.span())))))
        for word in re.finditer(r"\w+(?:['’-]\w+)*", text)
        if any(place in marks for place in range(*word.span()))
    ]
    place = 0
    while place < len(words):
        start, end, entity = words[place]
        place += 1
        while place < len(words) and words[place][2] == entity and re.fullmatch(r"\.? ?", text[end : words[place][0]]):
            end = words[place][1]
            place += 1
        name = asked.entities[entity]
        parts += [text[done:start], placeholder(name, text[start:end])]
        counts[name] += 1
        done = end
    return "".join([*parts, text[done:]]), counts
