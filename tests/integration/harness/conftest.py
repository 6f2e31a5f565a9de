import pytest

from tests.counter import install_counter
from tests.workspace import Workspace, make_workspace


@pytest.fixture(scope="session")
def _template(tmp_path_factory) -> Workspace:
    workspace = make_workspace(tmp_path_factory.mktemp("template") / "workspace")
    install_counter(workspace)
    return workspace


@pytest.fixture
def workspace(_template, tmp_path) -> Workspace:
    """A fresh workspace whose pipeline is the one stage ``counter``."""
    return _template.copy_to(tmp_path / "workspace")
