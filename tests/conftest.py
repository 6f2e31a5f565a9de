"""What holds for all tests."""

import compileall
import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from core import python
from tests.prefect_database import prefect_database  # noqa: F401  (a fixture)
from tests.real_models import minilm, smollm2  # noqa: F401  (fixtures)

python.seldom_collect()
# As the stages do, before any test imports torch: on a busy machine threads that spin while they wait cost many times
# what they compute.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# How fast a busy machine makes examples says nothing about the code.
settings.register_profile("stemma", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stemma")


ROOT = Path(__file__).resolve().parents[1]
WITH_TRL = {f"tests/unit/{stage}" for stage in ("instruct_finetune", "preference_tune", "reward_model")}


def pytest_configure(config):
    """Compile what thousands of processes import: each would compile it anew where nothing writes bytecode."""
    if not hasattr(config, "workerinput"):
        for package in ("core", "components", "registry", "deploy", "flows", "cli"):
            compileall.compile_dir(ROOT / package, quiet=2)


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
    """With ``--dist loadfile``, one process runs all files of a folder.

    They share workspaces, servers, models and imports that take longer to make than most tests take to run; the
    fine-tuning stages share TRL.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFolder(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = super()._split_scope(nodeid).rpartition("/")[0]
            return "tests/unit/finetuning" if folder in WITH_TRL else folder

    return ByFolder(config, log)
