"""What holds for all tests."""

import gc
import os
import sys

import pytest
from hypothesis import HealthCheck, settings

from core import python
from tests.prefect_database import prefect_database  # noqa: F401  (a fixture)
from tests.real_models import minilm, smollm2  # noqa: F401  (fixtures)

python.seldom_collect()
# As the stages do, before any test imports torch: on a busy machine threads that spin while they wait cost many times
# what they compute.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# How fast a busy machine makes examples says nothing about the code.
settings.register_profile("stemma", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stemma")


_modules = 0  # that were imported when garbage was last collected


def pytest_runtest_setup():
    """What was imported is looked at by no later garbage collection, which each training calls for: half a second."""
    global _modules
    if len(sys.modules) > _modules:
        _modules = len(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With ``--dist loadfile``, one process runs all files of a folder of tests/integration.

    They share workspaces, servers and models that take longer to make than most tests take to run.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFolder(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return file.rpartition("/")[0] if file.startswith("tests/integration/") else file

    return ByFolder(config, log)
