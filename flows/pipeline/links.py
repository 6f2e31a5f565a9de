"""Addresses of pages about a run: in MLflow and in Prefect's UI. A courtesy: none where there is no such server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def mlflow_run(uri: str, receipt: Mapping[str, Any] | None) -> str | None:
    """The page of the MLflow run that made a stage's outputs; ``None`` where MLflow is no server."""
    made = (receipt or {}).get("mlflow") or {}
    if not uri.startswith(("http://", "https://")) or not made.get("run_id"):
        return None
    page = f"{without_password(uri).rstrip('/')}/#/experiments/{made['experiment_id']}/runs/{made['run_id']}"
    return f"{page}?workflowType=machine_learning"  # MLflow's pages of trainings, rather than those of chats


def prefect_run(receipt: Mapping[str, Any] | None) -> str | None:
    """The page of the Prefect run that made a stage's outputs."""
    from prefect.utilities.urls import url_for

    made = (receipt or {}).get("prefect") or {}
    return url_for("flow-run", made["flow_run_id"]) if made.get("flow_run_id") else None


def flow_run(identity: str) -> str | None:
    """The page of a flow run."""
    from prefect.utilities.urls import url_for

    return url_for("flow-run", identity)


def made_by(uri: str, receipt: Mapping[str, Any] | None, within: str | None = None) -> str:
    """The runs that really made a stage's outputs, in markdown: links where there are pages, else names.

    Args:
        within: the run that this is told in; that it was itself need not be said.
    """
    found = []
    if run := ((receipt or {}).get("mlflow") or {}).get("run_id"):
        page = mlflow_run(uri, receipt)
        found.append(f"[MLflow run {run[:8]}]({page})" if page else f"MLflow run {run[:8]}")
    name = (receipt or {}).get("run")
    if name is None or name != within:
        if page := prefect_run(receipt):
            found.append(f"[Prefect run]({page})")
        if name:
            found.append(f"`{name}`")
    return " · ".join(found)


def without_password(address: str) -> str:
    """The address without the credentials that it may hold."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", address)
