"""Making a version ready to serve: verified first, then loaded by an engine, then asked for a token."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from deploy.gateway import prompt
from deploy.gateway.catalog import Catalog
from deploy.gateway.engine import Running, Version
from deploy.gateway.engines import CLASSIFIER, Engine

log = logging.getLogger(__name__)


async def prepare(catalog: Catalog, version: Version, generator: Engine, seconds: float) -> Running:
    """An engine that answers with the version; nothing is left of one that does not.

    Args:
        generator: the engine for models that generate.
        seconds: that it has to load and answer.

    Raises:
        RegistryError: the version is refused, or no engine answered with it.
    """
    model = await asyncio.to_thread(catalog.verified, version)
    await asyncio.to_thread(prompt.prepare, model)
    engine = CLASSIFIER if model.kind == "classifier" else generator
    running = Running(version, model, engine, _log(catalog.workspace.home, version))
    log.info("%s verified (%s); starting %s", version.name, version.digest, engine.name)
    try:
        await running.start(seconds)
    except BaseException:
        await running.stop()
        raise
    return running


def _log(home: Path, version: Version) -> Path:
    return home / "logs" / f"engine-{version.name.replace(':', '-')}.log"
