"""Function signatures of the running interpreter's standard library, read from its source with ``ast``.

Nothing is imported, so that no module's side effect runs. Test suites and installed packages are left out.
A method is shown as it is called, without its bound first parameter (as ``inspect.signature`` shows a bound method).
"""

from __future__ import annotations

import ast
import os
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core import python

_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib-dynload"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
_NESTING = frozenset(
    kind for kind in vars(ast).values() if isinstance(kind, type) and {*_BLOCKS} & {*getattr(kind, "_fields", ())}
) - {ast.Lambda, ast.IfExp}  # nodes that hold statements


ParameterKind = Literal["positional_only", "positional", "args", "keyword_only", "kwargs"]


@dataclass(frozen=True)
class Parameter:
    """One parameter. ``default`` is Python source, or None where there is none; annotations are dropped."""

    name: str
    kind: ParameterKind
    default: str | None = None

    @property
    def starred(self) -> bool:
        return self.kind in ("args", "kwargs")

    @property
    def optional(self) -> bool:
        """Has a default. ``*args`` and ``**kwargs`` are neither optional nor required."""
        return self.default is not None

    @property
    def required(self) -> bool:
        return self.default is None and not self.starred


@dataclass(frozen=True)
class Function:
    """A function of the library. ``qualified_name`` is ``module.`` + its ``__qualname__``."""

    qualified_name: str
    name: str
    module: str
    parameters: tuple[Parameter, ...]

    @property
    def text(self) -> str:
        """The signature with spaces around its tokens, so that a name tokenizes alike here and in an answer."""
        return f"def {self.name} ( {render(self.parameters)} )"

    @property
    def list_key(self) -> str:
        """What near-identical parameter lists share: names without case, underscores and digits, order kept.

        Defaults and the way of passing do not count, so ``(n)``, ``(n=-1)`` and ``(*, N)`` have one key.
        """
        return ",".join(re.sub(r"[_\d]", "", p.name).lower() or p.name for p in self.parameters)


def render(parameters: tuple[Parameter, ...]) -> str:
    """``a , / , b = 1 , * , c = None , ** d``: spaces around the list's own tokens, defaults as written."""
    shown: list[str] = []
    for index, parameter in enumerate(parameters):
        before = parameters[index - 1].kind if index else None
        if before == "positional_only" and parameter.kind != "positional_only":
            shown.append("/")
        if parameter.kind == "keyword_only" and before not in ("args", "keyword_only"):
            shown.append("*")
        stars = {"args": "* ", "kwargs": "** "}.get(parameter.kind, "")
        default = "" if parameter.default is None else f" = {parameter.default}"
        shown.append(f"{stars}{parameter.name}{default}")
    if parameters and parameters[-1].kind == "positional_only":
        shown.append("/")
    return " , ".join(shown)


def parse(source: str | bytes, module: str) -> list[Function]:
    """Functions of one module's source, nested ones included, in source order. Raises SyntaxError."""
    return _functions(python.parsed(source), module, "", in_class=False, found=[])


def standard_library(root: Path | None = None) -> tuple[list[Function], list[str]]:
    """Every function of the library under ``root`` (the running interpreter's), sorted by file; and unreadable files.

    A function defined twice (for two platforms, say) with one parameter list appears once.
    """
    root = root or Path(sysconfig.get_path("stdlib"))
    functions: dict[tuple[str, tuple[Parameter, ...]], Function] = {}
    unreadable = []
    for path in sorted(_source_files(root), key=lambda path: path.parts):
        relative = path.relative_to(root)
        try:
            found = parse(path.read_bytes(), module_name(relative))
        except (SyntaxError, ValueError, OSError):  # the library ships deliberately broken files for its tools
            unreadable.append(relative.as_posix())
            continue
        for function in found:
            functions.setdefault((function.qualified_name, function.parameters), function)
    return list(functions.values()), unreadable


def _source_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        # Pruned here, so that installed packages and test suites are not even listed.
        folders[:] = [
            name
            for name in folders
            if name not in _LEFT_OUT and not (name.startswith("config-") and folder == str(root))
        ]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))


def module_name(relative: Path) -> str:
    """``json/__init__.py`` -> ``json``; ``json/decoder.py`` -> ``json.decoder``."""
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _functions(node: ast.AST, module: str, scope: str, *, in_class: bool, found: list[Function]) -> list[Function]:
    """Add the definitions below ``node`` to ``found``."""
    # Only statements can hold definitions; expressions are not walked, which is most of the time saved.
    for field in _BLOCKS:
        for child in getattr(node, field, ()):
            kind = type(child)
            if kind in _FUNCTIONS:
                found.append(
                    Function(f"{module}.{scope}{child.name}", child.name, module, _parameters(child, in_class))
                )
                _functions(child, module, f"{scope}{child.name}.<locals>.", in_class=False, found=found)
            elif kind is ast.ClassDef:
                _functions(child, module, f"{scope}{child.name}.", in_class=True, found=found)
            elif kind in _NESTING:
                _functions(child, module, scope, in_class=in_class, found=found)
    return found


def _parameters(function: _Function, in_class: bool) -> tuple[Parameter, ...]:
    arguments = function.args
    positional: list[tuple[str, ParameterKind]] = [(a.arg, "positional_only") for a in arguments.posonlyargs]
    positional += [(a.arg, "positional") for a in arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    found = [Parameter(name, kind, _source(d)) for (name, kind), d in zip(positional, defaults, strict=True)]
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    if in_class and not static and found:
        found = found[1:]
    if arguments.vararg:
        found.append(Parameter(arguments.vararg.arg, "args"))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append(Parameter(argument.arg, "keyword_only", _source(default)))
    if arguments.kwarg:
        found.append(Parameter(arguments.kwarg.arg, "kwargs"))
    return tuple(found)


def _source(default: ast.expr | None) -> str | None:
    return None if default is None else ast.unparse(default)
