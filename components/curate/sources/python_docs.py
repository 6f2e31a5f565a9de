"""The running interpreter's own documentation: docstrings, comments, help topics, docs of its C modules.

Python source is read with ``ast`` and never imported, so that no module's side effect runs.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pydoc_data import topics

from components.curate.documents import Document
from components.curate.files.parts import SourcePart, packed
from components.curate.files.user_files import UserFile
from components.curate.ledger import Ledger
from components.curate.parameters import PythonDocsSource
from components.curate.sources import c_docs
from core import python

NAME = "python_docs"
LICENSE = "PSF-2.0"
_TOPICS, _C_MODULES, _NO_FILES = "help topics", "C modules", "no source files"
_TOGETHER = 2 << 20  # bytes of source that are read at a time
# Test suites, installed packages, an editor, demonstrations, generated tables, and two modules that are jokes.
_LEFT_OUT = {"test", "tests", "idle_test", "idlelib", "turtledemo", "site-packages", "dist-packages", "__pycache__",
             "lib-dynload", "_bundled", "pydoc_data", "antigravity.py", "this.py"}  # fmt: skip
_LEFT_OUT_PREFIXES = ("config-", "_sysconfigdata")
_COMMENT_OR_STRING = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<triple>\'{3}|"{3})(?:\\.|(?!(?P=triple)).)*(?P=triple)"""
    r"""|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""",
    re.DOTALL,
)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_DOCUMENTED = (ast.Module, *_SCOPES)
_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
_RULE = re.compile(r"[\W_]*")  # a line of dashes, of equals signs, or of nothing
_DIRECTIVE = re.compile(r"!|.*coding[:=]|\s*(?:type:|noqa|pragma|pylint|pytype|mypy|fmt:|isort|XXX\s*$|TODO\s*$)")
_CODE_LINE = re.compile(
    r"\s*(?:(?:def|class|if|elif|while|for|with)\b.*:\s*$|(?:return|import|from|raise|del|assert|print)\b[^.]*[(=\])]"
    r"|[\w.\[\]]+(?:\s*[-+*/|&]?=(?!=)\s*\S|\(.*[(),:]\s*$)|(?:else|try|finally)\s*:|[)\]}]+,?\s*$|@\w)"
)


@cache
def source_files() -> list[tuple[str, Path]]:
    """Module name and path of every .py file that is harvested, sorted by path."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, folders, names in os.walk(root):
        # Pruned here, so that installed packages and test suites are not even listed.
        folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith(_LEFT_OUT_PREFIXES)]
        for name in names:
            if name.endswith(".py") and name not in _LEFT_OUT and not name.startswith(_LEFT_OUT_PREFIXES):
                path = Path(folder, name)
                module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
                found.append((module, path))
    return sorted(found, key=lambda entry: entry[1].parts)


def size(source: PythonDocsSource, workspace: Path) -> int:
    return sum(path.stat().st_size for _, path in source_files())


def parts(source: PythonDocsSource, workspace: Path) -> Iterator[SourcePart]:
    """Source files first, several together, then topics, then C modules."""
    if {"docstring", "comment"} & set(source.kinds):
        files = [UserFile(module, path, "python") for module, path in source_files()]
        if not files:  # an embedded or zipped Python
            yield SourcePart(_NO_FILES, 0, known=False)
        yield from packed(files, _TOGETHER)
    if "topic" in source.kinds:
        yield SourcePart(_TOPICS, 0, (UserFile("topics", Path(topics.__file__), "python"),))
    if "c_doc" in source.kinds:
        # They are in the interpreter and in libraries of the system: too much to take a digest of.
        yield SourcePart(_C_MODULES, 0, known=False)


def read(source: PythonDocsSource, part: SourcePart, workspace: Path, ledger: Ledger) -> Iterator[Document]:
    """Documents of the chosen kinds."""
    unreadable: list[str] = []
    ledger.notes[NAME] = {
        "python": sys.version.split()[0], "source_files": len(source_files()), "unreadable": unreadable
    }  # fmt: skip
    if part.name == _NO_FILES:
        ledger.problems.append(
            f"curate.sources: python_docs found no .py files under {sysconfig.get_path('stdlib')}: use a Python "
            "with its standard library's source, or another source"
        )
    elif part.name == _TOPICS:
        yield from _topics()
    elif part.name == _C_MODULES:
        yield from _c_documents(unreadable)
    else:
        for file in part.files:
            yield from _of_module(file.name, file.path, source.kinds, unreadable, ledger)


def _of_module(
    module: str, path: Path, kinds: tuple[str, ...], unreadable: list[str], ledger: Ledger
) -> Iterator[Document]:
    try:
        text = path.read_bytes().decode("utf-8")
        documents = list(_module_documents(module, text, kinds))
    except (SyntaxError, UnicodeDecodeError, ValueError, OSError):
        unreadable.append(module)  # the library ships deliberately broken files for its own tools
        return
    for document in documents:
        if document.kind == "comment" and is_code(document.text):
            ledger.take(document)
            ledger.drop("commented_out_code", document)
        else:
            yield document


def _document(text: str, kind: str, group: str, origin: str) -> Document:
    return Document(text, NAME, kind, group, LICENSE, origin)


def _module_documents(module: str, text: str, kinds: tuple[str, ...]) -> Iterator[Document]:
    tree = python.parsed(text)
    if "docstring" in kinds:
        for origin, docstring in _docstrings(tree, module):
            yield _document(docstring, "docstring", module, origin)
    if "comment" in kinds:
        for line, comment in comments(text.replace("\r\n", "\n")):
            yield _document(comment, "comment", module, f"{module}#L{line}")


def _docstrings(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    """Qualified name (as ``__qualname__`` has it) and cleaned docstring, in source order."""
    pending: list[tuple[ast.AST, str, str]] = [(tree, module, "")]
    while pending:
        node, name, scope = pending.pop()
        if isinstance(node, _DOCUMENTED):
            docstring = ast.get_docstring(node)
            if docstring and docstring.strip():
                yield name, docstring
        found: list[tuple[ast.AST, str, str]] = []
        for field in _BLOCKS:
            for child in getattr(node, field, ()):
                if isinstance(child, ast.ClassDef):
                    found.append((child, f"{module}.{scope}{child.name}", f"{scope}{child.name}."))
                elif isinstance(child, _SCOPES):
                    found.append((child, f"{module}.{scope}{child.name}", f"{scope}{child.name}.<locals>."))
                elif isinstance(child, ast.AST):
                    found.append((child, name, scope))
        pending.extend(reversed(found))


def comments(text: str) -> Iterator[tuple[int, str]]:
    """First line number and text of each block of whole-line comments, without rulers and tool directives.

    One regular expression that knows strings finds the comments, some twenty times faster than ``tokenize``. An
    f-string with its own quotes inside (Python 3.12) may hide or show a comment wrongly; the library has
    none like it.
    """
    block: list[str] = []
    start, last, indentation = 0, 0, -1
    number, counted = 1, 0
    for match in _COMMENT_OR_STRING.finditer(text):
        comment = match.group("comment")
        if comment is None:
            continue
        before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        if before.strip():
            continue  # it follows code on its line
        number += text.count("\n", counted, match.start())
        counted = match.start()
        if block and (number != last + 1 or len(before) != indentation):
            if joined := _join(block):
                yield start, joined
            block = []
        if not block:
            start, indentation = number, len(before)
        block.append(comment)
        last = number
    if block and (joined := _join(block)):
        yield start, joined


def _join(block: list[str]) -> str:
    lines = []
    for line in block:
        body = line.lstrip("#").rstrip().rstrip("#").rstrip()
        if _DIRECTIVE.match(body):
            continue
        lines.append("" if _RULE.fullmatch(body) else body)
    return textwrap.dedent("\n".join(lines)).strip("\n")


def is_code(comment: str) -> bool:
    """True for commented-out code: it parses as statements, or most of its lines look like code."""
    lines = [line for line in comment.split("\n") if line.strip()]
    if not lines:
        return False
    if sum(bool(_CODE_LINE.match(line)) for line in lines) > len(lines) / 2:
        return True
    try:
        body = python.parsed(comment).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return not all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Name | ast.Constant) for node in body)


def _topics() -> Iterator[Document]:
    for topic, text in sorted(topics.topics.items()):
        yield _document(textwrap.dedent(text), "topic", f"topics.{topic}", f"help({topic!r})")


def _c_documents(unreadable: list[str]) -> Iterator[Document]:
    """Docs of C modules, read in a fresh isolated interpreter; modules that cannot be imported are noted."""
    done = subprocess.run(
        [sys.executable, "-I", c_docs.__file__], capture_output=True, text=True, encoding="utf-8", timeout=300
    )
    if done.returncode:
        raise RuntimeError(f"reading the docs of C modules failed:\n{done.stderr[-2000:]}")
    for line in done.stdout.splitlines():
        module, name, text = json.loads(line)
        if name is None:
            unreadable.append(f"{module} ({text})")
        else:
            yield _document(text, "c_doc", module, name)
