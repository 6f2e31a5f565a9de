"""The console: pages about models, runs and the health of a workspace, rendered on the server.

Modules, in reading order:

- ``access``: who asks and what that person may do; every page and every action stands behind it
- ``console``: what the pages share: the workspace, the open registry, the gate
- ``rendering``: templates, and how values are written in them
- ``forms``: what browsers send
- ``deciding``: promotions and rollbacks in the background
- ``starting``: runs of deployments, by Prefect's API
- ``pages``: one module a page: ``models``, ``decisions`` (promote, roll back), ``tree``, ``compare``, ``data``,
  ``evaluate``, ``runs``, ``system``
- ``app``: the application

``python -m flows.console`` starts it: the gate needs the floor above to measure and compare.
"""
