"""Runs the lifecycle: the Prefect flow over DVC's graph, and the ``stemma`` command."""
