"""Models of which only the size is known: their shapes, and what is published of trainings of that size."""

import pytest

from components.planning.command import plans
from components.planning.decoder import read
from components.planning.options import parse
from components.planning.shapes import shape
from core.errors import InputProblem


@pytest.mark.parametrize(
    "parameters, active",
    [(50e6, None), (135e6, None), (8e9, None), (405e9, None), (46.7e9, 12.9e9), (671e9, 37e9)],
)
def test_a_shape_has_the_size_that_was_wanted(parameters, active):
    decoder = read(shape(int(parameters), int(active) if active else None))
    assert decoder.total == pytest.approx(parameters, rel=0.01)
    assert decoder.active == pytest.approx(active or parameters, rel=0.01)
    assert decoder.heads % decoder.key_value_heads == 0


def test_175b_has_gpt_3s_width_and_depth():
    """arXiv:2005.14165, table 2.1."""
    config = shape(175_000_000_000)
    assert (config.hidden_size, config.num_hidden_layers) == (12288, 96)


@pytest.mark.parametrize("parameters, active", [(10**6, None), (20 * 10**9, 300 * 10**6), (10**9, 10**6)])
def test_a_size_without_a_shape_is_refused(parameters, active):
    with pytest.raises(InputProblem, match=r"preset|give more"):
        shape(parameters, active)


def planned(**given):
    return plans(parse(given))["plans"][0]


def test_hours_and_money_of_published_trainings():
    llama = planned(parameters="405B", tokens="15.6T", device="h100", count="16384", mfu="0.38", goodput="0.9")
    assert llama["time"]["device_hours"] == pytest.approx(30.84e6, rel=0.1)  # the model card of Llama 3.1
    deepseek = planned(
        parameters="671B", active="37B", tokens="14.8T", device="h800", count="2048", precision="fp8", mfu="0.173",
        price="2", context="4096",
    )  # fmt: skip
    assert deepseek["time"]["device_hours"] == pytest.approx(2.664e6, rel=0.1)  # arXiv:2412.19437, table 1
    assert deepseek["cost"]["money"] == pytest.approx(5.328e6, rel=0.1)
    gpt3 = planned(parameters="175B", tokens="300B", device="a100-80", count="1024", context="2048")
    assert gpt3["compute"]["flops_exact"] == pytest.approx(3.14e23, rel=0.1)  # arXiv:2005.14165, table D.1


def test_70b_fits_on_16000_devices_by_dividing_it_three_ways():
    plan = planned(preset="llama3-70b", tokens="15T", device="h100", count="16000")
    chosen = next(row for row in plan["memory"] if row["chosen"])
    assert plan["fits"] and chosen["sharding"] == "3d"
    assert chosen["tensor_devices"] == 8 and 16000 % (8 * chosen["pipeline_stages"]) == 0
    fewer = planned(preset="llama3-70b", tokens="15T", device="h100", count="16000", sharding="tp")
    assert not fewer["fits"] and "3d" in [row["sharding"] for row in fewer["memory"] if row["fits"]]
