"""What holds for all tests."""

import os

from hypothesis import HealthCheck, settings

# As the stages do, before any test imports torch: on a busy machine threads that spin while they wait cost many times
# what they compute.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# How fast a busy machine makes examples says nothing about the code.
settings.register_profile("stemma", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stemma")
