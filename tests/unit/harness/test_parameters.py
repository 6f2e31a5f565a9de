import pytest
from pydantic import Field

from components.contract import StageParameters
from components.harness import parameters
from core import parameters_file
from core.errors import InputProblem


class Inner(StageParameters):
    rate: float = Field(0.1, gt=0, le=1)


class Outer(StageParameters):
    steps: int = Field(10, ge=1)
    names: tuple[str, ...] = ()
    inner: Inner = Inner()


def test_a_missing_section_means_the_defaults():
    assert parameters.validate({}, "outer", Outer) == Outer()
    assert parameters.validate({"outer": None}, "outer", Outer) == Outer()


def test_every_problem_is_reported_with_its_path():
    with pytest.raises(InputProblem) as caught:
        parameters.validate({"outer": {"step": 1, "steps": 0, "inner": {"rate": 2}}}, "outer", Outer)
    reported = caught.value.problems
    assert len(reported) == 3
    assert any("outer.step: unknown parameter; did you mean 'steps'?" in line for line in reported)
    assert any("outer.steps:" in line and "(it is 0)" in line for line in reported)
    assert any("outer.inner.rate:" in line for line in reported)


@pytest.mark.parametrize("text", ["- a\n- b\n", "seed: [", "seed: 1\nseed: 2\n"])
def test_what_is_not_a_mapping_of_sections_is_refused(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(InputProblem, match=r"params\.yaml"):
        parameters_file.read(tmp_path / "params.yaml")


def test_a_missing_file_says_how_to_get_it_back(tmp_path):
    with pytest.raises(InputProblem, match="git checkout"):
        parameters_file.read(tmp_path / "params.yaml")


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "7", True])
def test_a_seed_is_a_whole_number_in_range(seed):
    with pytest.raises(InputProblem, match="seed"):
        parameters.seed_of({"seed": seed})


def test_only_what_differs_from_the_default_is_listed():
    assert parameters.non_default(Outer()) == {}
    assert parameters.non_default(Outer(steps=3, inner=Inner(rate=0.2))) == {"steps": 3, "inner.rate": 0.2}


def test_a_boolean_for_a_number_is_reported_with_the_rest():
    with pytest.raises(InputProblem) as caught:
        parameters.validate({"outer": {"steps": True, "inner": {"rate": False}, "nmes": []}}, "outer", Outer)
    reported = "\n".join(caught.value.problems)
    assert "outer.steps: a number belongs here" in reported
    assert "outer.inner.rate: a number belongs here" in reported and "outer.nmes" in reported
