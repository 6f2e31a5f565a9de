import pytest
from mlflow import MlflowClient

from tests.counter import install_counter
from tests.workspace import Workspace, make_workspace


@pytest.fixture(scope="session")
def _template(tmp_path_factory) -> Workspace:
    workspace = make_workspace(tmp_path_factory.mktemp("template") / "workspace")
    install_counter(workspace)
    # Once for all: MLflow's migrations of a new database take as long as most of these stages.
    workspace.home.mkdir()
    MlflowClient(f"sqlite:///{workspace.home / 'mlflow.db'}").search_experiments()
    return workspace


@pytest.fixture
def workspace(_template, tmp_path) -> Workspace:
    """A fresh workspace whose pipeline is the one stage ``counter``."""
    return _template.copy_to(tmp_path / "workspace")
