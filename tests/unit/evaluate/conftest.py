"""A small workspace with real text and questions, and a tiny model with random weights."""

from __future__ import annotations

import inspect
import json
import shutil
import textwrap

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.tasks.signatures.functions import parse
from components.tasks.signatures.questions import ask
from tests.unit.finetuning.workspace import save_model


def write_corpus(folder, documents):
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in documents.items():
        columns = ("id", "text", "source", "kind", "group", "license", "origin")
        table = [
            dict(zip(columns, (str(i), text, "test", kind, group, "PSF-2.0", group), strict=True))
            for i, (text, kind, group) in enumerate(rows)
        ]
        schema = pa.schema([(column, pa.string()) for column in columns])
        pq.write_table(pa.Table.from_pylist(table, schema=schema), folder / f"{split}-00000-of-00001.parquet")


def write_instructions(folder, records):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in records.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def questions(module):
    functions = parse(inspect.getsource(module), module.__name__)
    return [
        {
            "prompt": question.prompt,
            "completion": f" {question.answer}",
            "kind": question.kind,
            "group": question.function.qualified_name,
            "style": "terse",
            "reference": question.answer,
            "verifier": "closed_answer",
        }
        for function in functions
        for question in ask(function, 30)
        if len(question.prompt) < 120
    ]


def paragraphs(module):
    return [
        (text.strip(), "docstring", f"{module.__name__}.{i // 3}")
        for i, text in enumerate(inspect.getsource(module).split("\n\n"))
        if text.strip()
    ]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A workspace ready for evaluate; tests copy it or leave it as it is."""
    workspace = tmp_path_factory.mktemp("workspace")
    training = paragraphs(textwrap)
    write_corpus(workspace / "data/corpus", {"train": training, "test": paragraphs(json)[:12]})
    write_instructions(
        workspace / "data/instructions", {"instruct": questions(textwrap), "test": questions(shutil)[:40]}
    )
    for instance in ("base", "instruct", "assistant"):
        save_model(workspace / "models" / instance, [text for text, _, _ in training])
    return workspace
