"""A registry on SQLite in a temporary folder, and finished stages to record in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.lineage.receipts import Bytes, Receipt, StageRecord


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_registry(f"sqlite:///{tmp_path / 'registry.db'}") as opened:
        yield opened


def item(name: str, digest: str, kind: str = "dataset", registered: str | None = None) -> Bytes:
    return Bytes(name, f"data/{name}", kind, name, "md5", digest, 10, None, registered)


@pytest.fixture
def finished() -> Callable[..., StageRecord]:
    """Makes the record of a finished stage."""

    def make(
        stage: str, inputs: list[Bytes], outputs: list[Bytes], metrics=(), *, started: float = 1.0, **more
    ) -> StageRecord:
        receipt = {
            "schema": 1,
            "stage": stage,
            "component": {"name": stage.partition("@")[0], "version": "1.0.0", "code_digest": "c"},
            "fingerprint": f"fingerprint of {stage} {[one.digest for one in inputs + outputs]}",
            "started": started,
            "metrics": list(metrics),
            "headline": metrics[0]["name"] if metrics else None,
            **more,
        }
        return StageRecord(stage, Receipt.model_validate(receipt), tuple(inputs), tuple(outputs))

    return make
