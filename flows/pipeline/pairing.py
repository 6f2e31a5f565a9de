"""Comparing two measurements item by item, for the gate: the registry knows no statistics of items."""

from __future__ import annotations

from core.errors import InputProblem
from core.workspace import Workspace
from registry.db.database import open as open_registry
from registry.errors import InvalidBytes, MissingBytes
from registry.lineage.evaluations import report_of
from registry.promotion.gate import Pair, PairedGain
from registry.promotion.measurements import Measurement
from registry.store.materialize import materialize_artifact


def pairing(workspace: Workspace) -> Pair:
    """Compares by the ``items.jsonl`` of the two executions' reports, where both are at hand and share items."""

    def pair(candidate: Measurement, champion: Measurement) -> PairedGain | None:
        from components.comparison.paired import paired
        from components.evaluate.items import read

        rows = []
        with open_registry(workspace.registry_url) as registry:
            for measurement in (champion, candidate):
                with registry.read() as session:
                    report = report_of(session, measurement.execution)
                    session.expunge_all()
                if report is None:
                    return None
                try:
                    items = read(materialize_artifact(workspace, registry, report))
                    rows.append([item for item in items if item.metric == measurement.name])
                except (MissingBytes, InvalidBytes, InputProblem):
                    return None  # an older evaluation, or one whose report is gone
        found = paired(rows[0], rows[1], candidate.higher_is_better)
        if found is None:
            return None
        return PairedGain(found.difference * (1 if candidate.higher_is_better else -1), found.stderr, found.n)

    return pair
