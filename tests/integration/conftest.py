"""What several folders of integration tests share."""

from __future__ import annotations

import pytest

from tests import ray_cluster


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of two nodes, which this process finds by its environment."""
    with ray_cluster.cluster() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.variables.items():
            patch.setenv(name, value)
        yield found
