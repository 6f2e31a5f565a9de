"""The bench's frame with a peer that needs no packages, and our side through the real stage, at a tiny size."""

from __future__ import annotations

import json
import os
import sys
import textwrap

import pytest

import components
from bench import corpus, launch, page, quality, speed
from bench.cells import Bench, Cell
from bench.launch import ROOT, TrainerFailed, litgpt_config, run_pinned
from bench.quality import Contestant
from bench.results import Results, machine
from bench.trainers import stemma_stage
from bench.variants import SMALL, VARIANTS, parameter_count
from core.errors import InputProblem
from tests.unit.pretrain import tiny

SHAPE = {
    "vocab_size": 384,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}
# Keeps the order's clocks, and a score that is better for the middle rate and tells of the steps.
PEER = """
    import json, sys, time
    from pathlib import Path
    from marks import Marks

    order = json.loads(Path(sys.argv[1]).read_text())
    marks = Marks(order["marks"])
    for _ in range(order["steps"] + 1):
        marks.mark()
        time.sleep(0.001)
    rate = order["learning_rate"]
    score = {"bits_per_byte": 3 if rate == 3e-3 else 4, "tokens": order["steps"]}
    (Path(order["folder"]) / "score.json").write_text(json.dumps(score))
"""


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return tiny.tokens(tmp_path_factory.mktemp("bench-tokens"))


@pytest.fixture
def bench(tokens, tmp_path):
    peer = tmp_path / "peer.py"
    peer.write_text(textwrap.dedent(PEER))

    def commands(trainer, order, python):
        own = [[sys.executable, peer, order]]
        return launch.commands(trainer, order, python) if trainer == "stemma" else own

    def python(trainer, folder):
        assert trainer != "stemma", "our own stage runs in this environment"
        return sys.executable

    results = Results(tmp_path / "results.json", machine())
    return Bench(tmp_path, tokens, results, shape=SHAPE, context=16, batch=4, commands=commands, python=python)


def test_the_measured_model_has_its_size():
    assert parameter_count(SMALL) == 12_681_280


def test_what_our_stages_are_asked_for_are_parameters_of_theirs(bench):
    components.load("curate").parameters(**corpus.CURATE)
    order = bench.order(Cell(VARIANTS["stemma"], 1, 4))
    asked = components.load("pretrain").parameters(**stemma_stage.parameters({**order, "shape": SMALL}))
    assert (asked.steps, asked.processes) == (4, 1)
    sizes = {name: getattr(asked.architecture, name) for name in SMALL if name != "vocab_size"}
    assert sizes == {name: value for name, value in SMALL.items() if name != "vocab_size"}


@pytest.mark.nightly
def test_our_side_is_the_stage_and_its_steps_and_score_are_measured(bench):
    result = bench.measure(Cell(VARIANTS["stemma"], 1, 4, score=True, profile=True), [min(os.sched_getaffinity(0))])
    assert len(result["wall"]) == len(result["cpu"]) == 4 and min(result["wall"]) > 0
    assert result["peak"] > 1e7
    assert 1 < result["score"]["bits_per_byte"] < 12
    assert result["score"]["tokens"] == json.loads((bench.corpus / "data/tokens/index.json").read_text())["splits"][
        "validation"]["tokens"]  # fmt: skip
    assert {"matmul", "attention", "AdamW", "Muon"} <= set(result["profile"])
    assert not list((bench.folder / "runs").iterdir())


def test_a_finished_measurement_is_not_made_again_and_another_one_is(bench, monkeypatch):
    variant = VARIANTS["trainer-fp32"]
    core = [min(os.sched_getaffinity(0))]
    first = bench.measure(Cell(variant, 1, 3), core)
    again = Bench(
        bench.folder, bench.corpus, Results(bench.results.path, machine()), SHAPE, 16, 4,
        commands=lambda *_: [[sys.executable, "-c", "raise SystemExit(3)"]], python=bench.python,
    )  # fmt: skip
    assert again.measure(Cell(variant, 1, 3), core) == first
    with pytest.raises(TrainerFailed, match="ended with 3"):
        again.measure(Cell(variant, 1, 4), core)
    assert not again.known(Cell(variant, 1, 4))


def test_rounds_take_turns_and_are_summarised(bench):
    variants = [VARIANTS["trainer-fp32"], VARIANTS["litgpt-fp32"]]
    options = {"cores": 1, "rounds": 2, "steps": 6, "slow_steps": 3}
    speed.measure(bench, variants, **options)
    rows = speed.summarise(bench, variants, **options)
    assert [(row["variant"], row["rounds"], row["steps"]) for row in rows] == [
        ("trainer-fp32", 2, 8), ("litgpt-fp32", 2, 8)]  # fmt: skip
    low, high = rows[0]["tokens_per_second_quartiles"]
    assert low <= rows[0]["tokens_per_second"] <= high < 64 / 0.001


def test_peers_get_their_best_rate_and_every_trainer_its_own_steps_for_a_budget(bench):
    field = [Contestant(VARIANTS["trainer-fp32"], 0.5), Contestant(VARIANTS["litgpt-fp32"], 0.25)]
    options = {"budgets": [1, 2, 4], "seeds": 2}
    assert quality.remaining_seconds(bench, field, **options) == 2 * (3 * 2 + 2 * 7)
    quality.measure(bench, field, **options, jobs=1)
    assert quality.remaining_seconds(bench, field, **options) == 0
    rows = quality.summarise(bench, field, **options)
    assert [row["steps"] for row in rows] == [2, 4, 4, 8, 8, 16]
    assert {row["learning_rate"] for row in rows} == {3e-3} and {row["bits_per_byte"] for row in rows} == {3}


def test_the_peers_precision_is_the_faster_one():
    rows = [
        {"variant": "stemma", "cores": 1, "cpu_seconds_per_step": 3},
        {"variant": "stemma-adamw", "cores": 1, "cpu_seconds_per_step": 1},
        {"variant": "litgpt-bf16", "cores": 1, "cpu_seconds_per_step": 9},
        {"variant": "litgpt-fp32", "cores": 1, "cpu_seconds_per_step": 4},
        {"variant": "litgpt-fp32", "cores": 2, "cpu_seconds_per_step": 1},
    ]
    assert [(one.variant.name, one.seconds) for one in quality.contestants(rows)] == [
        ("stemma", 3), ("litgpt-fp32", 4)]  # fmt: skip


def test_the_page_is_rewritten_between_its_markers_only(tmp_path):
    path = tmp_path / "benchmarks.md"
    path.write_text(f"# Benchmarks\n\n{page.BEGIN}\nold\n{page.END}\n\n## Goodput\n")
    page.write(path, "new")
    assert path.read_text() == f"# Benchmarks\n\n{page.BEGIN}\nnew\n{page.END}\n\n## Goodput\n"
    path.write_text("# Benchmarks\n")
    with pytest.raises(InputProblem, match="put a line"):
        page.write(path, "new")


def test_the_corpus_digest_tells_tokens_apart(tokens, tmp_path):
    folder = tmp_path / "data/tokens"
    folder.mkdir(parents=True)
    for path in (tokens / "data/tokens").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert corpus.digest(tmp_path) == corpus.digest(tokens)
    (folder / "index.json").write_text("{}")
    assert corpus.digest(tmp_path) != corpus.digest(tokens)


def test_litgpt_is_asked_for_the_same_model_and_batch(bench):
    order = {**bench.order(Cell(VARIANTS["litgpt-fp32"], 1, 40, learning_rate=1e-3)), "folder": "x"}
    config = litgpt_config({**order, "tokens": "t", "dtype": "uint16", "marks": "m"})
    assert config["train"]["max_tokens"] == 40 * 4 * 16 and config["train"]["lr_warmup_steps"] == 2
    assert config["model_config"]["n_embd"] == 16 and config["precision"] == "32-true"
    assert config["optimizer"]["init_args"]["lr"] == 1e-3 and config["train"]["min_lr"] == 1e-4


def test_a_measured_process_is_pinned_and_has_a_thread_for_each_core(tmp_path):
    core = max(os.sched_getaffinity(0))
    script = "import os; print(os.sched_getaffinity(0), os.environ['OMP_NUM_THREADS'])"
    run_pinned([sys.executable, "-c", script], [core], tmp_path / "log")
    assert (tmp_path / "log").read_text() == f"{{{core}}} 1\n"


def test_usage_mistakes_are_named_before_anything_runs(tmp_path):
    import subprocess

    for arguments, told in (
        (["--trainer", "nobody"], "no nobody; there is: stemma"),
        (["--budgets", "soon"], "is no list of numbers"),
        (["--jobs", "4096"], "4096 cores are wanted"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "bench.pretrain", "--folder", str(tmp_path / "bench"), *arguments],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2 and told in done.stderr
    assert not (tmp_path / "bench").exists()
