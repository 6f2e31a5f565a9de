"""Back-up and restore of everything that cannot be rebuilt.

A back-up is a folder: dumps of the registry's, MLflow's and Prefect's databases, a bundle of the git repository with
the snapshot of every run, the bytes that DVC keeps, MLflow's artifacts, and ``manifest.json`` with the sha256 of every
file. It appears under its name whole or not at all.
"""

from deploy.backup.create import create
from deploy.backup.manifest import BackupFailed, BackupRefused
from deploy.backup.restore import restore

__all__ = ["BackupFailed", "BackupRefused", "create", "restore"]
