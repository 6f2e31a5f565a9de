"""The ``stemma`` command: one file a verb. What a verb needs is imported when it runs, so that help is instant."""

from cli.main import main

__all__ = ["main"]
