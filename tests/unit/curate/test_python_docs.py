"""The harvest of the running interpreter's own documentation."""

import io
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from components.curate.ledger import Ledger
from components.curate.parameters import PythonDocsSource
from components.curate.sources import c_docs, python_docs

SOURCE = '''"""Module.

    Indented.
"""
#!/usr/bin/env python
# -*- coding: utf-8 -*-
# ----------------
# First block of
#   two lines.
# ----------------

text = """
# not a comment
"""
x = 1  # follows code


class Outer:
    """Outer class."""

    def method(self):
        """Method."""

        def inner():
            "Inner."
            # Comment within.

    if True:
        async def conditional(self):
            """Conditional."""
# type: ignore
'''


def documents(kinds, module="m"):
    return [(d.kind, d.origin, d.text) for d in python_docs._module_documents(module, SOURCE, kinds)]


def test_docstrings_have_their_qualified_names():
    assert documents(("docstring",)) == [
        ("docstring", "m", "Module.\n\nIndented."),
        ("docstring", "m.Outer", "Outer class."),
        ("docstring", "m.Outer.method", "Method."),
        ("docstring", "m.Outer.method.<locals>.inner", "Inner."),
        ("docstring", "m.Outer.conditional", "Conditional."),
    ]


def test_comments_come_in_blocks_without_rulers_directives_and_strings():
    assert documents(("comment",)) == [
        ("comment", "m#L5", "First block of\n  two lines."),
        ("comment", "m#L26", "Comment within."),
    ]


@pytest.mark.parametrize("name", ["tokenize", "turtle", "argparse", "_pydecimal", "inspect"])
def test_comments_are_those_that_tokenize_finds(name):
    path = dict(python_docs.source_files())[name]
    text = path.read_text("utf-8")
    expected = [t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT]
    found = [m.group("comment") for m in python_docs._COMMENT_OR_STRING.finditer(text)]
    assert [comment for comment in found if comment] == expected


@pytest.mark.parametrize(
    ("comment", "code"),
    [
        ("x = compute(y)", True),
        ("if x:\n    return y", True),
        ("print(value)", True),
        ("for name in names:", True),
        ("Return the value of x.", False),
        ("Set (or override) the hook.", False),
        ("deprecated", False),
        ("This is for a caller that imports it: see above.", False),
    ],
)
def test_commented_out_code_is_distinguished_from_prose(comment, code):
    assert python_docs.is_code(comment) is code


def test_what_is_left_out():
    modules = {module for module, _ in python_docs.source_files()}
    assert {"json.decoder", "argparse", "asyncio.events"} <= modules
    assert not {"this", "antigravity", "test", "idlelib", "turtledemo"} & {m.split(".")[0] for m in modules}
    assert not [path for _, path in python_docs.source_files() if {"tests", "site-packages"} & set(Path(path).parts)]
    names = c_docs.module_names()
    assert {"math", "builtins", "_socket"} <= set(names)
    assert not [name for name in names if name.startswith(("_test", "xx")) or name == "readline"]


def test_importing_c_modules_leaves_no_trace_and_repeats_exactly():
    command = [sys.executable, "-I", c_docs.__file__]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2))
    assert first.stdout == second.stdout
    assert first.stderr == ""
    assert "object at 0x" not in first.stdout


def test_the_harvest_has_every_kind_in_quantity(monkeypatch):
    some = [entry for entry in python_docs.source_files() if entry[0].split(".")[0] in ("json", "asyncio", "tarfile")]
    monkeypatch.setattr(python_docs, "source_files", lambda: some)
    ledger = Ledger(1)
    source = PythonDocsSource()
    parts = python_docs.parts(source, Path())
    found = [document for part in parts for document in python_docs.read(source, part, Path(), ledger)]
    kinds = Counter(document.kind for document in found)
    assert kinds["docstring"] > 400 and kinds["comment"] > 400 and kinds["c_doc"] > 1500 and kinds["topic"] > 50
    assert ledger.dropped["commented_out_code"] > 2
    origins = {document.origin: document for document in found}
    assert origins["json.decoder.JSONDecoder.decode"].group == "json.decoder"
    assert origins["math.acos"].kind == "c_doc"
    assert {document.license for document in found} == {"PSF-2.0"}
