"""The stage as a whole, on a tiny model: what it writes, and that stopping and killing change nothing."""

import hashlib
import json
import signal
import time

import pytest

from components import pages
from components.contract import Context
from components.finetuning.models import load_tokenizer
from components.instruct_finetune import component
from components.instruct_finetune.examples import read
from core.errors import InputProblem
from tests.stage import lose_machine, run_component, run_until_stopped
from tests.unit.finetuning.workspace import make_workspace, quick, signature_records, write_records
from tests.unit.pretrain.forked import FINETUNING, Forked


def digests(workspace):
    """Digest of every output file."""
    files = [*(workspace / "models" / "instruct").rglob("*"), *(workspace / "reports" / "instruct_finetune").iterdir()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files) if path.is_file()}


def test_it_learns_reports_and_leaves_a_model_that_loads(workspace):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    context = run_component(component, workspace, quick(60, learning_rate=0.01, checkpoint_every=30))
    metrics = {metric.name: metric for metric in context.metrics}
    assert context.headline == "accuracy"
    assert metrics["accuracy"].n == 24 and {"majority", "rules"} == set(metrics["accuracy"].baselines)
    assert metrics["answer_loss"].value < metrics["answer_loss"].baselines["base"] - 1
    folder = workspace / "models" / "instruct"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == len(tokenizer)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == tokenizer.eos_token_id
    report = workspace / "reports" / "instruct_finetune"
    assert {"report.json", "curve.csv", "training.png"} == {path.name for path in report.iterdir()}
    page = pages.instruct_finetune.render(report).html()
    assert "Right answers, greedy" in page and "majority" in page and "Loss and token accuracy" in page
    for path in [*folder.iterdir(), *report.iterdir()]:
        assert str(workspace).encode() not in path.read_bytes(), f"{path.name} names the folder it was made in"
    points = [json.loads(line) for line in context.events.read_text().splitlines()]
    curves = [p for p in points if p["kind"] == "point"]
    assert [p["step"] for p in curves if "loss" in p["metrics"]] == list(range(1, 61))
    assert [p["step"] for p in curves if "development_loss" in p["metrics"]] == [0, 60]
    assert context.tokens > 0


def test_records_without_a_verifier_are_measured_by_their_loss(workspace):
    plain = [{"prompt": r["prompt"], "completion": r["completion"]} for r in signature_records(40)]
    write_records(workspace, instruct=plain, development=plain[:10])
    context = run_component(component, workspace, {**quick(2), "template": "alpaca"})
    assert "Right answers" not in pages.instruct_finetune.render(workspace / "reports" / "instruct_finetune").html()
    assert context.headline == "answer_loss" and [m.name for m in context.metrics] == ["answer_loss"]


def test_rows_that_may_be_skipped_are_counted(workspace):
    long = {**signature_records(1)[0], "prompt": "word " * 200}
    write_records(workspace, instruct=[*signature_records(20), long])
    context = run_component(component, workspace, {**quick(2), "too_long": "skip"})
    assert any("1 of 21 rows" in warning for warning in context.warnings)


# Dropout, so that a resumed run has to go on with the random numbers of the stopped one.
ADAPTER = {"type": "lora", "rank": 4, "dropout": 0.1, "output": "adapter"}


def chat(*contents):
    return [{"role": ("user", "assistant")[n % 2], "content": content} for n, content in enumerate(contents)]


def test_a_template_without_marks_trains_and_the_report_shows_what_is_learnt(workspace):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(workspace / "models" / "base")
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tokenizer.save_pretrained(workspace / "models" / "base")
    rows = [{"messages": chat(f"alpha {n}", "beta <b>", f"gamma {n}", "delta")} for n in range(20)]
    long = {"messages": chat("alpha", "omega " * 200)}
    asked = {"messages": chat("alpha " * 200, "omega")}
    write_records(workspace, instruct=[*rows, long, asked], development=rows[:5])
    context = run_component(component, workspace, {**quick(2), "train_on": "last", "too_long": "truncate"})
    [warning] = context.warnings
    assert "instruct.jsonl: 1 of 22 rows are cut to 96 tokens; 1 whose answers begin behind" in warning
    report = workspace / "reports" / "instruct_finetune"
    shown = [["<|user|>alpha 0<|endoftext|><|assistant|>beta <b><|endoftext|><|user|>gamma 0<|endoftext|><|assistant|>",
              False], ["delta<|endoftext|>", True]]  # fmt: skip
    preview = json.loads((report / "report.json").read_text())["preview"]
    assert preview[0] == shown and len(preview) == 10
    page = pages.instruct_finetune.render(report).html()
    assert "beta &lt;b&gt;" in page and "<mark>delta&lt;|endoftext|&gt;</mark>" in page
    kept = AutoTokenizer.from_pretrained(workspace / "models" / "instruct")
    assert kept.chat_template == tokenizer.chat_template


def test_rows_that_the_template_refuses_stop_the_stage_before_the_model_is_loaded(workspace):
    system = {"messages": [{"role": "tool", "content": "x"}, *chat("alpha", "beta")]}
    write_records(workspace, instruct=[*signature_records(20), system], development=signature_records(5))
    (workspace / "models" / "base" / "model.safetensors").unlink()
    with pytest.raises(InputProblem, match=r"1 of 21 rows do not fit the chat template.*no such role: tool.*row 21"):
        run_component(component, workspace, quick(2))
    write_records(workspace, instruct=[*signature_records(200), system], development=signature_records(5))
    context = Context(component.parameters(), 1, {"instructions": workspace / "data/instructions"}, {}, workspace)
    examples = read(context, load_tokenizer(workspace / "models" / "base"))
    assert len(examples.training) == len(examples.encoded.input_ids) == 200
    assert "1 of 201 rows do not fit" in context.warnings[0] and "are left out" in context.warnings[0]


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [{"type": "none"}, ADAPTER], ids=["weights", "adapter"])
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(tmp_path, adapter):
    parameters = quick(6, adapter=adapter, optimizer="adamw" if adapter is ADAPTER else "muon")
    run_component(component, make_workspace(tmp_path / "whole"), parameters)
    broken = make_workspace(tmp_path / "broken")
    run_until_stopped(component, broken, parameters, step=3)
    assert not list((broken / "models" / "instruct").iterdir())
    checkpoint = broken / "scratch" / "instruct_finetune" / "checkpoints" / "step-0000000004"
    assert checkpoint.is_dir() and (checkpoint / "model.safetensors").exists() == (adapter is not ADAPTER)
    run_component(component, broken, parameters)
    assert digests(broken) == digests(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("adapter", "steps", "kills"), [({"type": "none"}, 30, (3, 14)), (ADAPTER, 12, (3,))], ids=["weights", "adapter"]
)
def test_killed_at_any_moment_the_finished_weights_are_the_same_bits(tmp_path, adapter, steps, kills):
    parameters = quick(steps, adapter=adapter)
    run_component(component, make_workspace(tmp_path / "whole"), parameters)
    workspace = make_workspace(tmp_path / "killed")
    checkpoints = workspace / "scratch" / "instruct_finetune" / "checkpoints"
    deaths = []
    for least in kills:  # the weights twice, at different places, once while resumed
        process = Forked("tests.unit.finetuning.child", ["instruct_finetune", str(workspace), json.dumps(parameters)],
                         preloaded=FINETUNING)  # fmt: skip
        while process.poll() is None and not any(
            int(path.name.rpartition("-")[2]) >= least for path in checkpoints.glob("*-*[0-9]")
        ):
            time.sleep(0.005)
        process.kill()
        process.communicate()
        deaths.append(process.returncode)
    assert deaths == [-signal.SIGKILL] * len(kills)
    assert not (workspace / "models" / "instruct" / "model.safetensors").exists()
    context = run_component(component, workspace, parameters)
    assert digests(workspace) == digests(tmp_path / "whole")
    # It went on from a checkpoint: not all steps are logged three times.
    points = [json.loads(line) for line in context.events.read_text().splitlines() if '"point"' in line]
    assert len(points) < 3 * steps


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [{"type": "none"}, ADAPTER], ids=["weights", "adapter"])
def test_it_ends_when_the_development_loss_rises_with_the_best_weights_also_when_resumed(tmp_path, adapter):
    # A rate at which it soon gets worse.
    parameters = quick(40, adapter=adapter, optimizer="adamw", learning_rate=0.3 if adapter is ADAPTER else 0.05,
                       schedule="constant", warmup_ratio=0.0, evaluate_every=2, patience=2)  # fmt: skip
    context = run_component(component, make_workspace(tmp_path / "whole"), parameters)
    points = [json.loads(line) for line in context.events.read_text().splitlines() if '"point"' in line]
    losses = {p["step"]: p["metrics"]["development_loss"] for p in points if "development_loss" in p["metrics"]}
    measured = sorted(step for step in losses if step)
    best = min(measured, key=losses.get)
    assert measured[-1] < 40 and measured[-1] == best + 4
    metrics = {metric.name: metric for metric in context.metrics}
    assert metrics["answer_loss"].value == pytest.approx(losses[best], rel=1e-4)

    broken = make_workspace(tmp_path / "broken")
    run_until_stopped(component, broken, parameters, step=best + 1)
    assert any(name.startswith("beside/best-") for name in lose_machine(broken / "scratch" / "instruct_finetune"))
    run_component(component, broken, parameters)
    assert digests(broken) == digests(tmp_path / "whole")


@pytest.mark.parametrize("adapter", [{"type": "none"}, ADAPTER], ids=["weights", "adapter"])
def test_stopping_after_training_keeps_the_trained_weights(workspace, monkeypatch, adapter):
    from components.instruct_finetune import stage

    parameters = quick(4, adapter=adapter)
    with monkeypatch.context() as patch:

        def fail(*args, **kwargs):
            raise RuntimeError("killed while answering")

        patch.setattr(stage, "answer_records", fail)
        with pytest.raises(RuntimeError):
            run_component(component, workspace, parameters)
    with monkeypatch.context() as patch:
        from transformers import Trainer

        def never(*args, **kwargs):
            raise AssertionError("trained again")

        patch.setattr(Trainer, "train", never)
        context = run_component(component, workspace, parameters)
    assert context.headline == "accuracy"
