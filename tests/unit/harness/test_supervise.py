"""How the process of a stage starts its worker."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

from components.harness.supervise import _Execution


class _Killed:
    """A reserve that was killed before it could become the worker."""

    dismissed = False

    def would_do(self, environment, without):
        return True

    def become(self, *command, **surroundings):
        raise BrokenPipeError

    def dismiss(self):
        self.dismissed = True


def test_a_worker_is_started_as_usual_where_its_reserve_has_ended(tmp_path, monkeypatch):
    reserve, started = _Killed(), []
    execution = SimpleNamespace(
        scratch=SimpleNamespace(tracking=tmp_path), job=SimpleNamespace(root=tmp_path), lock=None, reserve=reserve,
        surroundings=SimpleNamespace(processes=1),
    )  # fmt: skip
    monkeypatch.setattr(subprocess, "Popen", lambda command, **surroundings: started.append(command))
    _Execution._start_worker(execution, {"parameters": {}, "inputs": {}})
    assert started[0][:4] == [sys.executable, "-P", "-m", "components.harness.worker"] and reserve.dismissed
