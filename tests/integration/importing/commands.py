"""The command in a workspace, and what it says."""

from tests import warm
from tests.workspace import Workspace


def stemma(workspace: Workspace, *arguments: str, code: int = 0) -> str:
    """Run the command, which must end with this code; its words in one line."""
    done = warm.stemma(*arguments, cwd=workspace.root, environment=workspace.environment)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return " ".join((done.stdout + done.stderr).split())
