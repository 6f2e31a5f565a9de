"""Health: the services, the registry's history, back-ups and disks; and the audit, where an operator asks for it."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from core import dvc, layout
from core.errors import InputProblem, StemmaError
from deploy.backup import last
from deploy.console.console import Console, allowed
from deploy.console.rendering import page
from deploy.stack import state
from deploy.stack.process import memory
from registry.integrity.audit import audit

LOW_SHARE = 0.05  # of a disk that is free


@dataclass(frozen=True)
class Disk:
    """Room where something of the workspace lies; in bytes."""

    holds: str
    free: int
    total: int

    @property
    def low(self) -> bool:
        return self.free < LOW_SHARE * self.total


def routes(console: Console) -> APIRouter:
    router = APIRouter()

    @router.get("/health")
    def alive() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get("/system")
    def system(request: Request) -> Response:
        return shown(request)

    @router.post("/system/audit")
    def check(request: Request) -> Response:
        allowed(request, "operator")
        if not console.auditing.acquire(blocking=False):
            raise InputProblem("an audit is being made; wait for its end")
        try:
            began = time.monotonic()
            report = audit(console.workspace)
        finally:
            console.auditing.release()
        return shown(request, report=report, seconds=time.monotonic() - began)

    def shown(request: Request, **values: Any) -> Response:
        with console.read() as session:
            doubt = console.doubt(session)
        stack = state.read(console.workspace.home)
        services = [(each, memory(each.pid) if each.pid else None) for each in stack.services] if stack else []
        values = {"report": None, "seconds": 0.0, **values}
        return page(
            request, console, "system.html", services=services, doubt=doubt, disks=disks(console),
            backup=last.read(console.workspace.home), **values,
        )  # fmt: skip

    return router


def disks(console: Console) -> list[Disk]:
    """The disks of the workspace, its home and DVC's cache, each once."""
    home, root = console.workspace.home, console.workspace.root
    places = {"the workspace": root, "databases, keys and checkpoints": home, "temporary files": layout.scratch(home)}
    try:
        places["DVC's cache"] = dvc.cache_folder(root)
    except StemmaError:  # its settings cannot be read, which every command says
        pass
    found: dict[int, tuple[list[str], Path]] = {}
    for what, folder in places.items():
        if folder.exists():
            found.setdefault(folder.stat().st_dev, ([], folder))[0].append(what)
    usages = [(", ".join(what), shutil.disk_usage(folder)) for what, folder in found.values()]
    return [Disk(what, usage.free, usage.total) for what, usage in usages]
