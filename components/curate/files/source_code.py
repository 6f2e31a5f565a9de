"""Source code among the user's files: its language by its suffix, its licence by the header that SPDX defines."""

from __future__ import annotations

import re

_SUFFIXES = {
    "ada": "adb ads",
    "assembly": "asm s",
    "c": "c h",
    "c#": "cs",
    "c++": "cc cpp cxx hh hpp hxx",
    "clojure": "clj cljs",
    "css": "css",
    "cuda": "cu cuh",
    "dart": "dart",
    "elixir": "ex exs",
    "erlang": "erl hrl",
    "f#": "fs fsx",
    "fortran": "f f90 f95 f03 for",
    "go": "go",
    "groovy": "groovy",
    "haskell": "hs",
    "java": "java",
    "javascript": "cjs js jsx mjs",
    "julia": "jl",
    "kotlin": "kt kts",
    "lisp": "el lisp",
    "lua": "lua",
    "nim": "nim",
    "ocaml": "ml mli",
    "pascal": "pas",
    "perl": "pl pm",
    "php": "php",
    "powershell": "ps1 psm1",
    "protobuf": "proto",
    "python": "py pyi",
    "r": "r",
    "ruby": "rb",
    "rust": "rs",
    "scala": "scala",
    "scheme": "scm",
    "shell": "bash sh zsh",
    "sql": "sql",
    "swift": "swift",
    "tcl": "tcl",
    "terraform": "tf",
    "typescript": "ts tsx",
    "verilog": "sv v",
    "vhdl": "vhd vhdl",
    "zig": "zig",
}
LANGUAGES = {f".{suffix}": name for name, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
"""Programming language by suffix. Where one suffix stands for several (.h, .m, .pl), the commonest, or none."""
KIND = "code:"
_BEGINNING = 4000  # characters
# Licences joined by AND, OR and WITH: https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions
_NAME = r"\(*[A-Za-z0-9][A-Za-z0-9.+-]{0,60}\)*"
_LICENSE = re.compile(rf"SPDX-License-Identifier:[ \t]*({_NAME}(?:[ \t]+(?:AND|OR|WITH)[ \t]+{_NAME}){{0,9}})")


def kind_of(suffix: str) -> str | None:
    """The kind of a document with the suffix, such as ``code:python``; ``None`` for other files."""
    name = LANGUAGES.get(suffix.lower())
    return name and KIND + name


def license_of(text: str) -> str | None:
    """The SPDX expression in the first lines of a file, if they have one."""
    found = _LICENSE.search(text, 0, _BEGINNING)
    return found and " ".join(found[1].split()).rstrip("-.")
