"""Documentation of the interpreter's C modules, by importing them and reading ``__doc__``.

Runs as a script in a fresh isolated interpreter (``python -I c_docs.py``), one JSON array ``[module, name, text]`` a
line, so that importing some forty extension modules leaves no trace in the stage's process. Standard library only.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect
import json
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

# Tests of the C API, and modules that touch the terminal or need a display when imported.
_LEFT_OUT = {"readline", "_tkinter", "_curses", "_curses_panel", "antigravity", "this", "nis"}
_LEFT_OUT_PREFIXES = ("_test", "_xx", "xx", "_ctypes_test")


def module_names() -> list[str]:
    """Built-in and extension modules of this interpreter that are harvested, sorted."""
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    # In a virtual environment only "stdlib" leads to the interpreter's own library; on Windows it is DLLs.
    folders = (Path(sysconfig.get_path("stdlib")) / "lib-dynload", Path(sys.base_prefix) / "DLLs")
    files = [path.name for folder in folders for path in folder.glob("*")]
    extensions = {name.split(".")[0] for name in files if name.endswith(tuple(suffixes))}
    names = extensions | set(sys.builtin_module_names)
    return sorted(n for n in names if n not in _LEFT_OUT and not n.startswith(_LEFT_OUT_PREFIXES))


def documentation(module_name: str) -> Iterator[tuple[str, str | None]]:
    """Qualified name and docstring of a module, its routines, and its classes with their own members."""
    module = importlib.import_module(module_name)
    yield module_name, module.__doc__
    for name, value in sorted(vars(module).items()):
        if name == "__loader__":
            continue
        if inspect.isclass(value):
            yield f"{module_name}.{name}", value.__dict__.get("__doc__")
            for member, descriptor in sorted(vars(value).items()):
                if inspect.isroutine(descriptor) or inspect.isdatadescriptor(descriptor):
                    yield f"{module_name}.{name}.{member}", getattr(descriptor, "__doc__", None)
        elif inspect.isroutine(value):
            yield f"{module_name}.{name}", value.__doc__


def main() -> None:
    warnings.simplefilter("ignore")
    for module_name in module_names():
        try:
            for name, text in documentation(module_name):
                if isinstance(text, str) and text.strip():
                    print(json.dumps([module_name, name, inspect.cleandoc(text)]))
        except ImportError as error:  # a library that this system lacks
            print(json.dumps([module_name, None, str(error)]))


if __name__ == "__main__":
    main()
