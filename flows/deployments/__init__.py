"""What Prefect's UI offers: deployments with forms, schedules and triggers, and the process that runs their runs.

``python -m flows.deployments`` registers them at ``PREFECT_API_URL`` and runs their runs until SIGTERM.
"""
