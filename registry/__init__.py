"""The memory of a workspace: what was made, from what, by which execution, and what was promoted and why.

Modules, in reading order:

- ``workspace``: where the workspace, its home and its databases lie
- ``schema``, ``database``: the tables, and sessions on them
- ``sync``: ``dvc.lock`` and receipts into the tables; ``mirror`` tells MLflow
- ``snapshot``: the exact tree of a run as a git commit
- ``references``, ``catalog``: naming a model version, and which there are
- ``trace``, ``impact``, ``diff``, ``cost``: where it came from, what descends from it, what differs, what it took;
  ``walk`` follows the lineage for them, ``listings`` knows the files of folders, ``family_tree`` draws
- ``openlineage``: the same history for other tools
- ``gate``, ``promotion``, ``rollback``, ``chain``: deciding, and the chain of decisions; ``evidence`` has the
  figures that compare, ``loading`` tries the model, ``releases`` tells MLflow
- ``signing``, ``statement``, ``keys``, ``verification``, ``audit``: whether the bytes are still what was signed
- ``materialize``, ``restore``, ``reproduction``: having a version's bytes, its tree, and a verdict on making it again
- ``reachable``, ``collection``: what is still needed, and taking away the rest

It knows nothing of components, flows or deployments: it reads the files that they leave.
"""
