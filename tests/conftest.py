"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# How fast a busy machine makes examples says nothing about the code.
settings.register_profile("stemma", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stemma")
