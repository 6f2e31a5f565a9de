import pytest

from tests.unit.finetuning.workspace import make_workspace, write_model


@pytest.fixture
def workspace(tmp_path):
    make_workspace(tmp_path)
    write_model(tmp_path / "models" / "instruct")
    return tmp_path
