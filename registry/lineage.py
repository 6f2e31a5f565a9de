"""Asking the registry: which models there are, and where one came from, back to the raw bytes."""

from registry.catalog import models
from registry.trace import trace

__all__ = ["models", "trace"]
