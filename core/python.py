"""How Stemma starts Python: never with the folder that the process works in on its import path.

``python -m`` and ``python -c`` put the working directory first there, and a script its own folder, so a file that is
named like a library runs in the library's place. A working directory may be a restored tree or hold a model's files:
what others wrote. Only a stage's own code comes from the tree that it runs in, and that is said where it is wanted.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import gc
import importlib.abc
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from functools import cache
from pathlib import Path

_PARSING = threading.Lock()  # filters of warnings are those of all threads
SAFE_PATH = "PYTHONSAFEPATH"  # Python's own: as the option -P, and what a process starts inherits it


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of Stemma, or of a library, as it is installed."""
    return [sys.executable, "-P", "-m", module, *arguments]


def script(path: Path, *arguments: str) -> list[str]:
    """The command line that runs a program of the user's, its own folder not on its import path."""
    return [sys.executable, "-P", str(path), *arguments]


def isolate(environment: MutableMapping[str, str]) -> None:
    """Keep the working directory off the import path of every Python below, however that is started.

    Entries of ``PYTHONPATH`` that depend on the working directory are made to name the present one for good.
    """
    environment[SAFE_PATH] = "1"
    if given := environment.get("PYTHONPATH"):
        paths = [os.path.abspath(path) for path in given.split(os.pathsep) if path]
        environment["PYTHONPATH"] = os.pathsep.join(paths)


def with_code_of(root: Path, environment: Mapping[str, str]) -> str:
    """``PYTHONPATH`` for a process that shall run the code of the tree ``root``: a stage, or a plan of one."""
    others = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(root)]
    return os.pathsep.join([str(root), *others])


@contextlib.contextmanager
def isolated_children() -> Iterator[None]:
    """Hold what :func:`isolate` sets in this process's environment, for a library that starts Python by itself."""
    before = {name: os.environ.get(name) for name in (SAFE_PATH, "PYTHONPATH")}
    isolate(os.environ)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def seldom_collect() -> None:
    """Look for garbage seldom: imports make many objects and hardly any garbage, and looking takes a fifth of the time.

    The interpreter's last collection, which would look at every object of every library, finds none to look at.
    """
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)


def hide(*libraries: str) -> None:
    """Let installed libraries look absent in this process: others import them wherever they are, which takes seconds.

    One that is imported already stays.
    """
    for name in libraries:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


@contextlib.contextmanager
def hidden(library: str) -> Iterator[None]:
    """Let a library look absent while the block imports another one, which does without it; it may be imported later.

    One that is imported already stays.
    """
    finder = _Hiding(library)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Hiding(importlib.abc.MetaPathFinder):
    def __init__(self, library: str):
        self._library = library

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == self._library:
            raise ModuleNotFoundError(f"{fullname} is hidden", name=fullname)


@cache
def spare_pandas() -> None:
    """Let Arrow make its arrays of lists without pandas, which it imports wherever that is: 35 MB and a quarter of a
    second. It looks for it once in a process, so that pandas can be imported later, but not be given to Arrow."""
    import pyarrow

    with hidden("pandas"):
        pyarrow.array([0])


def parsed(source: str | bytes) -> ast.Module:
    """The syntax tree of others' source, of whose old escapes nobody here is warned. Raises SyntaxError, ValueError."""
    with _PARSING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)
