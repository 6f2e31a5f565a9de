"""The memory of a workspace: what was made, from what, by which execution, and what was promoted and why.

Streets, in reading order:

- ``db``: ``schema`` (the tables), ``database`` (sessions and migrations), ``references`` (names of versions, aliases)
- ``lineage``: ``receipts``, ``recording`` and ``sync`` bring ``dvc.lock`` and receipts into the tables. ``trace``,
  ``impact``, ``diff`` and ``cost`` answer from where a version came, what descends from it, what differs and what it
  took; ``traversal`` has their queries, ``catalog`` lists versions and metrics, ``family_tree`` draws. ``deployments``
  are what serves a version, ``reproduction`` compares a second run, ``openlineage`` exports all of it
- ``promotion``: ``parameters`` and ``measurements`` are what the ``gate`` judges by; ``trial`` and ``sanity`` load the
  model. ``promote`` and ``rollback`` decide, ``history`` shows, ``mirror`` and ``releases`` bring it to MLflow
- ``integrity``: ``signing`` and ``verification`` of a version; ``chain`` (hashes of promotions), ``statements`` (what
  is signed of them), ``anchor`` (the same in git) and ``history`` (whether an alias may be believed);
  ``signed_receipts``; ``decisions``, ``contents`` and ``audit`` of everything, into a ``report``
- ``store``: ``snapshot`` keeps the tree of a run as a git commit and ``restore`` brings it back in a tree of
  ``worktrees``; ``manifests`` and ``materialize`` have files by digest; ``pins``, ``reachable``, ``garbage`` and
  ``collection`` delete what nothing needs, kept apart from runs by ``run_locks``

It imports ``core`` alone: of components, flows and deployments it knows the files that they leave.
"""
