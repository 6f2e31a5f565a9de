import pytest

from tests.unit.finetuning.workspace import make_workspace


@pytest.fixture
def workspace(tmp_path):
    return make_workspace(tmp_path)
