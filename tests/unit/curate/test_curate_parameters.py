"""Parameters refuse what cannot work, and params.yaml writes out the defaults."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from components.curate.parameters import CurateParameters


@pytest.mark.parametrize(
    "wrong",
    [
        {"sources": []},
        {"sources": [{"type": "folder"}]},
        {"sources": [{"type": "files", "paths": []}]},
        {"sources": [{"type": "files", "paths": ["a"], "id": "x"}]},
        {"sources": [{"type": "python_docs", "kinds": ["docstrings"]}]},
        {"split": {"validation": 0.5}},
        {"deduplication": {"threshold": 0.7, "split_threshold": 0.8}},
        {"max_broken_share": 2},
        {"redact": ["names"]},
    ],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        CurateParameters(**wrong)


def test_params_yaml_writes_out_the_defaults():
    written = YAML(typ="safe").load(Path(__file__).parents[3] / "params.yaml")["curate"]
    own = set(CurateParameters.model_fields) - {"instructions", "labels"}
    assert own <= set(written)
    assert CurateParameters(**{name: written[name] for name in own}) == CurateParameters()
    # A value there would stand before that of another profile.
    assert written["quality"] == {"profile": "docstrings", "perplexity": None}


def test_a_schema_for_forms_can_be_made():
    assert "sources" in CurateParameters.model_json_schema()["properties"]
