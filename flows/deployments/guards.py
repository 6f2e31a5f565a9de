"""What the server needs beside the deployments: the limit ``train`` and the automation that marks silent runs.

``python -m flows.deployments.guards`` makes both at ``PREFECT_API_URL``, for servers whose runs are run by a pool of
workers.
"""

from __future__ import annotations

import asyncio

from flows.deployments import limits, zombies


async def ensure() -> None:
    """Make both, where they are missing or not as they should be."""
    await limits.ensure()
    await zombies.ensure()


if __name__ == "__main__":
    asyncio.run(ensure())
