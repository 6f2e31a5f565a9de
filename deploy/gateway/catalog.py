"""What the gateway reads from the registry: which version holds an alias, and its verified files."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from core.workspace import Workspace
from deploy.gateway.model_folder import ModelFolder, read
from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.integrity.history import resolve
from registry.integrity.verification import verify_version
from registry.store.run_locks import running


@dataclass(frozen=True)
class Version:
    """A version of the registry: its row, ``MODEL:VERSION`` and the digest of its files."""

    id: int
    name: str
    digest: str


class Catalog:
    """The registry of one workspace. Its methods block, and are called in threads."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self._opened: Registry | None = None
        self._lock = threading.Lock()

    def registry(self) -> Registry:
        """The open registry; opened at the first call that finds it there.

        Raises:
            DatabaseError: it cannot be opened.
        """
        with self._lock:
            if self._opened is None:
                self._opened = open_registry(self.workspace.registry_url)
            return self._opened

    def lookup(self, reference: str) -> Version:
        """The version that a reference names now.

        Raises:
            UnknownReference: there is none.
            DatabaseError: the registry cannot be read.
            UnsoundHistory: the reference names an alias, and the promotions are not what was signed.
        """
        with self.registry().read() as session:
            version = resolve(self.workspace, session, reference)
            return Version(version.id, str(version), version.artifact.digest)

    def verified(self, version: Version) -> ModelFolder:
        """The version's files, after every hash and signature was checked.

        A collection that began before its deployment was in the registry is waited for; a later one leaves them.

        Raises:
            RegistryError: they are missing, altered, or not signed by a key that is trusted here.
        """
        with running(self.workspace.home):
            return read(verify_version(self.workspace, self.registry(), version.name).files)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
