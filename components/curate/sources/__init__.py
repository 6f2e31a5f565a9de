"""Sources of text: each is a module with ``size``, ``parts`` and ``read``.

``size(source, workspace)``: bytes of all that is read, as far as known before.
``parts(source, workspace)``: its bounded parts, in an order that depends on names alone.
``read(source, part, workspace, ledger)``: a stream of the part's documents; broken rows go to the ledger, and what
makes a file useless to ``ledger.problems``, so that every problem is reported at once.
"""

from __future__ import annotations

from types import ModuleType

from components.curate.parameters import Source
from components.curate.sources import files, huggingface, python_docs

_MODULES: dict[str, ModuleType] = {"python_docs": python_docs, "files": files, "huggingface": huggingface}


def module_of(source: Source) -> ModuleType:
    """The module that reads ``source``."""
    return _MODULES[source.type]
