"""A Prefect server for one command: used when the user has none (``PREFECT_API_URL``), gone with the command.

A real server rather than Prefect's ephemeral one, which on two cores often needs longer to start than it waits for
itself. Its database stays in ``<home>/prefect``, so that a later ``prefect server start`` shows old runs.

It takes a random password of this command's, so that neither a page of a browser nor another account can use it.

The command itself listens at the server's address. A server that is killed is started again, and what was asked
meanwhile waits in the socket: a refused connection would be tried again for a minute at every report of the run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from core import layout, locks, python
from core.environment import child_environment, quiet_prefect
from core.errors import StemmaError
from core.files import private, private_folder
from core.processes import die_with_parent
from core.workspace import Workspace
from deploy.stack import state
from flows.pipeline.stage_process import end_group
from registry.promotion.mirror import unreachable

START_SECONDS = 120.0
RESTARTS = 3  # a server that ends more often than this is left alone
# What one local run needs is the API, the recorder of task runs and the persister of events; nothing is scheduled here.
_SETTINGS = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # On disk: a server that is started again would not know a lease in memory.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}


class ServerFailed(StemmaError):
    """There is no Prefect server: the user's does not answer, or the local one did not start."""


class LocalServer:
    """Prefect's server at a loopback port, with ``PREFECT_HOME`` at ``home``.

    Start it from a thread that lives as long as the command: the kernel ends it with the thread that started it.
    """

    def __init__(self, home: Path):
        self.home = home
        self.log = home / "server.log"
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.auth = f"stemma:{secrets.token_urlsafe(32)}"  # what its clients show: PREFECT_API_AUTH_STRING
        self._process: subprocess.Popen | None = None
        self._lock: int | None = None
        self._ending = False
        self._changing = threading.Lock()  # held while a server is started again, so that none is left at the end

    def start(self) -> None:
        """Start the process; returns at once."""
        private_folder(self.home)
        # Two servers on a fresh database would race in its migration, so the next one waits until this one is up.
        self._lock = locks.acquire(self.home / "start.lock")
        credentials = {
            "PREFECT_SERVER_API_AUTH_STRING": self.auth,
            "PREFECT_API_AUTH_STRING": self.auth,  # its own services are clients of it too
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{self.port}",  # it has no pages
        }
        environment = child_environment({"PREFECT_HOME": str(self.home), **_SETTINGS, **credentials})
        environment.pop("PREFECT_API_URL", None)
        handle = self._socket.fileno()
        with open(self.log, "ab" if self._process else "wb", opener=private) as log:
            self._process = subprocess.Popen(
                python.command("deploy.stack.prefect_server", "--fd", str(handle)),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[handle],
                preexec_fn=_die_with_command,
            )

    def wait(self, seconds: float = START_SECONDS) -> str:
        """Wait until it answers; returns its API's address.

        Raises:
            ServerFailed: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + seconds
        try:
            while True:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=2):
                    return self.url
                if self._process.poll() is not None or time.monotonic() > deadline:
                    words = " ".join(self.log.read_text(errors="replace").split()[-60:])
                    raise ServerFailed(f"the local Prefect server did not start (see {self.log}): {words}")
                time.sleep(0.1)
        finally:
            self._let_others_start()

    def keep(self, say: Callable[[str], None]) -> None:
        """From now on start it again where it ends before :meth:`stop`; ``say`` is called with a sentence each time."""
        threading.Thread(target=self._keep, args=(say,), daemon=True).start()

    def stop(self) -> None:
        """End it and whatever it started."""
        with self._changing:
            self._ending = True
        self._let_others_start()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            end_group(self._process)
        self._socket.close()

    def _keep(self, say: Callable[[str], None]) -> None:
        for _ in range(RESTARTS):
            self._process.wait()
            with self._changing:
                if self._ending:
                    return
                say("The run's own Prefect server was killed or failed; it is started again, and the run goes on.")
                self.start()
            with contextlib.suppress(ServerFailed):
                self.wait()
        self._process.wait()
        if not self._ending:
            self._socket.close()  # what is asked is refused at once, rather than left waiting
            say(f"The run's own Prefect server ended {RESTARTS + 1} times (see {self.log}) and is not started again.")

    def _let_others_start(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


@contextlib.contextmanager
def local_server(home: Path) -> Iterator[LocalServer]:
    """A server that is starting; gone when the block ends."""
    server = LocalServer(home)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def prefect_server(workspace: Workspace, say: Callable[[str], None]) -> Iterator[None]:
    """Prefect's client, set up against the server of ``PREFECT_API_URL``, or one that lasts as long as the block.

    Args:
        say: called with a sentence where the latter ended by itself and is started again.

    Raises:
        ServerFailed: it does not answer, or did not start.
    """
    home = layout.prefect(workspace.home)
    if url := os.environ.get("PREFECT_API_URL"):
        if why := unreachable(url):
            stack = state.read(workspace.home)
            hint = "start that server, or unset PREFECT_API_URL"
            if stack is not None and url == stack.prefect_api_url:
                hint = "it is the stack's; try again when `stemma status` shows it healthy"
            raise ServerFailed(f"PREFECT_API_URL: {why}; {hint}")
        quiet_prefect(home, None)
        yield
        return
    with local_server(home) as server, _credential(server.auth):
        quiet_prefect(home, server.url)
        import prefect  # noqa: F401  (takes seconds, while the server starts)

        server.wait()
        server.keep(say)
        # A connection that breaks is taken up again; its traceback would bury the sentence.
        logging.getLogger("websockets").setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            os.environ.pop("PREFECT_API_URL", None)


@contextlib.contextmanager
def _credential(auth: str) -> Iterator[None]:
    """What Prefect's clients show, in this process and in those that it starts."""
    name = "PREFECT_API_AUTH_STRING"
    before = os.environ.get(name)
    os.environ[name] = auth
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _die_with_command() -> None:
    die_with_parent(signal.SIGKILL)
