"""`stemma plan` as a user meets it: the screen, the JSON, and every mistake at once."""

import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli.main import app
from cli.screens.plan import screen
from components.planning import command
from components.planning.options import Options
from core.errors import InputProblem
from core.numbers import count, size
from flows.pipeline import planning

ROOT = Path(__file__).resolve().parents[3]
ARGUMENTS = ["plan", "--preset", "llama2-7b", "--tokens", "140B", "--device", "h100", "--count", "64", "--price", "2.5"]


@pytest.fixture(scope="module")
def answer() -> dict:
    result = CliRunner().invoke(app, [*ARGUMENTS, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_json_says_what_was_asked(answer):
    (plan,) = answer["plans"]
    assert plan["model"]["parameters"] == 6_738_415_616
    assert plan["compute"]["flops_6nd"] == 6 * 6_738_415_616 * 140e9
    hours = plan["compute"]["flops_exact"] / (64 * 989.4e12 * 0.4) / 3600
    assert plan["time"]["hours"] == pytest.approx(hours)
    assert plan["time"]["device_hours"] == pytest.approx(64 * hours)
    assert plan["cost"]["money"] == pytest.approx(2.5 * 64 * hours)
    assert plan["cost"]["energy_kilowatt_hours"] == pytest.approx(64 * hours * 0.7 * 1.1)
    assert {row["sharding"] for row in plan["memory"]} == {"ddp", "zero1", "zero2", "zero3", "tp", "3d"}
    assert sum(row["chosen"] for row in plan["memory"]) == 1 and plan["fits"]


def test_every_number_of_the_json_names_its_unit(answer):
    """Or is one of those that count things, or have none."""
    unitless = re.compile(
        r"(parameters|active_parameters|count|value|money|price_per_device_hour|tokens|checkpoints|"
        r"(same_)?compute_optimal_(parameters|tokens)\w*|tokens_per_\w+|flops_\w+)$"
    )
    units = ("_bytes", "_seconds", "seconds", "hours", "_share", "_watts", "_tokens", "_sequences", "_per_second",
             "_per_token", "_parameters", "_devices", "_stages")  # fmt: skip

    def walk(value, path):
        if isinstance(value, dict):
            for name, each in value.items():
                walk(each, (*path, name))
        elif isinstance(value, list):
            for each in value:
                walk(each, path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if "parameters_by_part" not in path:
                assert path[-1].endswith(units) or unitless.match(path[-1]), path

    walk(answer, ())


def test_the_screen_holds_the_answer_and_its_assumptions(answer):
    console = Console(width=160, record=True, file=open("/dev/null", "w"))
    console.print(screen(answer["plans"][0]))
    text = console.export_text()
    for word in ("6,738,415,616", "5.66e+21", "device-hours", "kWh", "zero3 = fsdp2", "largest micro-batch", "--mfu",
                 "--pue", "--goodput", "compute-optimal", "138B"):  # fmt: skip
        assert word in text, word


def test_a_plan_in_a_line(answer):
    line = planning.sentence(answer["plans"][0])
    assert line.startswith("6.74B parameters, 140B tokens, 6e+21 FLOPs, about ") and line.endswith("(fits)")


def test_mistakes_are_told_together_and_end_with_two(tmp_path):
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(InputProblem) as caught:
        planning.ask(["--device=h10", "--tokens=5", "--mfu=7"], tmp_path)
    assert len(caught.value.problems) == 3


def test_wrong_parameters_are_told_as_everywhere(tmp_path, monkeypatch):
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text("pretrain: {context: 0, stps: 3}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputProblem) as caught:
        command.plans(Options(), ["pretrain"])
    messages = "\n".join(caught.value.problems)
    assert "pretrain.context" in messages and "did you mean 'steps'" in messages


@pytest.mark.parametrize("value, text", [(6_738_415_616, "6.74B"), (1.5e12, "1.5T"), (999_600, "1M"), (12, "12")])
def test_counts_as_people_name_them(value, text):
    assert count(value) == text


@pytest.mark.parametrize("value, text", [(75.24e9, "75.2 GB"), (999, "999 B"), (999_999_999, "1 GB"), (0, "0 B")])
def test_sizes(value, text):
    assert size(value) == text
