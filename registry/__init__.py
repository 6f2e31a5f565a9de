"""The memory of a workspace: what was made, from what, by which execution, and what was promoted and why.

Modules, in reading order:

- ``workspace``: where the workspace, its home and its databases lie
- ``schema``, ``database``: the tables, and sessions on them
- ``sync``: ``dvc.lock`` and receipts into the tables; ``mirror`` tells MLflow
- ``snapshot``: the exact tree of a run as a git commit
- ``references``, ``lineage``: naming a model version, and asking where it came from
- ``gate``, ``promotion``, ``signing``, ``materialize``: deciding on a version, and having its bytes

It knows nothing of components, flows or deployments: it reads the files that they leave.
"""
