"""An adapter is served with what it learnt: the files beside it alone are its base."""

import asyncio
import sys
from pathlib import Path

import pytest

from core import layout
from deploy.gateway.adapter_hosts import AdapterHosts
from deploy.gateway.backends import choose
from deploy.gateway.catalog import Catalog
from deploy.gateway.local_generation import answer
from deploy.gateway.model_server import _prepare
from deploy.gateway.settings import GatewaySettings
from registry.errors import InvalidBytes
from registry.store.materialize import materialize

ENGINE = Path(__file__).parents[1] / "gateway" / "tiny_engine.py"
GREEDY = {"chat": True, "temperature": 0.0, "top_p": 1.0, "max_tokens": 12, "seed": 1}


def test_an_engine_that_knows_no_adapters_gets_the_merged_model(workspace):
    async def served(reference: str) -> Path:
        catalog = Catalog(workspace)
        backend = choose(f"{sys.executable} {ENGINE} {{model}} {{port}}")
        settings = GatewaySettings(start_seconds=120)
        engine = await _prepare(catalog, catalog.lookup(reference), backend, settings, AdapterHosts())
        try:
            return engine.model.path
        finally:
            await engine.stop()
            catalog.close()

    assert asyncio.run(served("adapted@champion")).parent == layout.merged(workspace.home)
    assert asyncio.run(served("assistant@champion")).parent == layout.models(workspace.home)


def test_an_answer_without_a_gateway_is_the_adapters(workspace, tmp_path):
    adapted, base = (materialize(workspace, name) for name in ("adapted", "assistant"))
    from deploy.merging import merged_copy

    learnt = "".join(answer(adapted, "one two", **GREEDY))
    assert learnt == "".join(answer(merged_copy(workspace.home, adapted), "one two", **GREEDY))
    assert learnt != "".join(answer(base, "one two", **GREEDY))


def test_an_adapter_beside_another_base_is_not_served(workspace, tmp_path):
    import shutil

    shutil.copytree(materialize(workspace, "adapted"), tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(InvalidBytes, match="adapter for another base"):
        "".join(answer(tmp_path / "model", "one two", **GREEDY))
