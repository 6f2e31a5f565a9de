"""The global concurrency limit ``train``: how many runs may train at once on the machines that this server serves."""

from __future__ import annotations

from flows.deployments.device_slot import LIMIT

SLOTS = 1


async def ensure() -> None:
    """Create the limit where there is none; a number that somebody has set in the UI stays."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    async with get_client() as client:
        try:
            await client.read_global_concurrency_limit_by_name(LIMIT)
        except ObjectNotFound:
            try:
                await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=LIMIT, limit=SLOTS))
            except ObjectAlreadyExists:  # made by another process meanwhile
                return
