"""The stage on a real, tiny model: what it records, that it repeats itself, and what it says to bad input."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from components import pages
from components.contract import Context
from components.evaluate import component, items
from components.evaluate.answers import askable
from components.finetuning.models import load_tokenizer
from core.errors import InputProblem
from tests.chat_templates import tokenizer
from tests.stage import run_component
from tests.unit.evaluate.conftest import write_corpus, write_instructions
from tests.unit.finetuning import tiny

QUICK = {
    "lm_eval": {"limit": 8, "batch_size": 2},
    "samples": {"prompts": ["import"], "max_new_tokens": 5},
    "answers": {"max_new_tokens": 4, "batch_size": 16},
}


@pytest.fixture
def workspace(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def evaluated(prepared, tmp_path_factory):
    """Contexts of one run for each instance, and the instruct one a second time elsewhere, by copies of the model."""
    other = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(prepared, other, dirs_exist_ok=True)
    contexts = {name: run_component(component, prepared, QUICK, instance=name) for name in ("base", "instruct")}
    shared = Counter()

    def spread(load, folder, function, shares):
        for share in shares:
            shared[function.__name__] += 1
            yield function(load(folder), share)

    contexts["again"] = run_component(component, other, QUICK, instance="instruct", spread=spread)
    assert shared == {"_nothing": 1, "_generated": 3, "_worked": shared["_worked"]} and shared["_worked"] > 4
    return contexts


def _metrics(context):
    return {metric.name: metric for metric in context.metrics}


@pytest.mark.parametrize(("instance", "headline"), [("base", "bits_per_byte"), ("instruct", "accuracy")])
def test_records_figures_with_errors_and_baselines(evaluated, instance, headline):
    context = evaluated[instance]
    metrics = _metrics(context)
    assert context.headline == headline
    assert set(metrics["bits_per_byte"].baselines) == {"unigram", "5-gram"}
    assert set(metrics["accuracy"].baselines) == {"majority", "rules"}
    assert metrics["accuracy"].eval_set == "instructions"
    assert metrics["lm_eval_heldout_documents_bits_per_byte"].eval_set == "corpus"
    assert 0.25 <= metrics["lm_eval_instruction_choice_acc"].baselines["chance"] <= 0.5
    for name in ("bits_per_byte", "loss", "perplexity", "lm_eval_instruction_choice_acc"):
        assert metrics[name].stderr is not None and metrics[name].stderr > 0, name
        assert metrics[name].n > 0
    assert metrics["correct_and_terse"].value <= metrics["accuracy"].value


def test_a_random_model_is_worse_than_the_ngrams_and_the_harness_agrees(evaluated):
    metrics = _metrics(evaluated["base"])
    bits = metrics["bits_per_byte"]
    assert bits.value > bits.baselines["unigram"] > bits.baselines["5-gram"]
    # 8 of the 12 documents, no end tokens
    assert metrics["lm_eval_heldout_documents_bits_per_byte"].value == pytest.approx(bits.value, rel=0.15)


def test_equal_inputs_give_equal_bytes_wherever_they_lie_and_whoever_works_on_the_batches(evaluated):
    first, second = evaluated["instruct"].outputs["report"], evaluated["again"].outputs["report"]
    names = sorted(path.name for path in first.iterdir())
    assert names == ["accuracy_by_kind.png", "bits_per_byte.png", "items.jsonl", "report.json"]
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_what_each_item_got_adds_up_to_the_metrics(evaluated):
    for instance in ("base", "instruct"):
        rows = list(items.read(evaluated[instance].outputs["report"]))
        metrics = _metrics(evaluated[instance])
        names = {row.metric for row in rows}
        assert names == metrics.keys() - {"loss", "perplexity"} - {name for name in metrics if "_perplexity" in name}
        for name in names:
            own = [row for row in rows if row.metric == name]
            assert len({row.item for row in own}) == len(own) == metrics[name].n
            value = sum(row.weight * row.score for row in own) / sum(row.weight for row in own)
            assert value == pytest.approx(metrics[name].value), name
    shared = [{row.item for row in items.read(evaluated[name].outputs["report"]) if row.metric == "accuracy"}
              for name in ("base", "instruct")]  # fmt: skip
    assert shared[0] == shared[1]
    choice = next(row for row in rows if row.task == "instruction_choice")
    assert choice.question and choice.answer and (choice.score == 1) == (choice.answer == choice.reference)


def test_report_states_how_it_was_measured(evaluated):
    report = json.loads((evaluated["base"].outputs["report"] / "report.json").read_text())
    assert report["held_out"]["window"] == 128 and report["held_out"]["stride"] == 64
    assert report["held_out"]["documents"] == report["held_out"]["documents_available"] == 12
    assert report["answers"]["judged"] == 40
    page = pages.evaluate.render(evaluated["base"].outputs["report"]).html()
    assert "Evaluation of models/base" in page and "accuracy by kind of question" in page
    for name in ("unigram", "5-gram", "instruction_choice", "Continuations"):
        assert name in page, name
    assert sum(kind["accuracy"]["n"] for kind in report["answers"]["by_kind"].values()) == 40


def test_without_instructions_the_documents_are_measured_all_the_same(workspace):
    write_instructions(workspace / "data/instructions", {"test": []})
    context = run_component(component, workspace, QUICK, instance="assistant")
    assert context.headline == "bits_per_byte"
    assert "accuracy" not in _metrics(context)
    assert any("no test instructions" in warning for warning in context.warnings)
    assert "There are no test instructions" in pages.evaluate.render(context.outputs["report"]).html()


def test_without_text_the_answers_are_measured_all_the_same(workspace):
    write_corpus(workspace / "data/corpus", {split: [] for split in ("train", "validation", "test")})
    context = run_component(component, workspace, QUICK, instance="base")
    assert context.headline == "accuracy" and "bits_per_byte" not in _metrics(context)
    assert "The corpus has no text" in pages.evaluate.render(context.outputs["report"]).html()


def test_instructions_without_reference_are_answered_but_not_judged(workspace):
    write_instructions(workspace / "data/instructions", {"test": [{"prompt": "Say something.", "completion": "Well."}]})
    context = run_component(component, workspace, {**QUICK, "lm_eval": {"tasks": []}}, instance="assistant")
    assert not context.warnings and "answer_loss" in _metrics(context)
    report = json.loads((context.outputs["report"] / "report.json").read_text())
    assert report["answers"]["examples"][0]["prompt"] == "Say something."
    assert "Say something." in pages.evaluate.render(context.outputs["report"]).html()


@pytest.mark.parametrize(
    ("completion", "verifier", "warning"),
    [
        ("Well.", "closed_answer", "1 of 2 test instructions have no checkable reference: accuracy is that of the oth"),
        (None, None, "neither a checkable reference nor an answer: nothing was measured"),
    ],
)
def test_what_is_measured_on_a_part_or_not_at_all_is_warned_of_once(workspace, completion, verifier, warning):
    rows = [{"prompt": "Say something.", "completion": completion}]
    if verifier:
        question = "Which parameter is first? def f ( alpha )"
        rows.append({"prompt": question, "kind": "first", "reference": "alpha", "verifier": verifier})
    write_instructions(workspace / "data/instructions", {"test": rows})
    context = run_component(component, workspace, {**QUICK, "lm_eval": {"tasks": []}}, instance="assistant")
    [said] = context.warnings
    assert warning in said


def _write_task(workspace, name, **settings):
    (workspace / "tasks").mkdir(exist_ok=True)
    rows = [{"question": f"{n} + 1 =", "answer": str(n + 1)} for n in range(6)]
    (workspace / "tasks/sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "tasks/sums.jsonl"}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "doc_to_choice": ["1", "2", "3", "4", "5", "6"],
        "metric_list": [{"metric": "acc"}],
    }
    (workspace / f"tasks/{name}.yaml").write_text(json.dumps({**task, **settings}))


def test_demonstrated_answers_that_nothing_judges_have_a_loss(workspace):
    folder = workspace / "data" / "instructions"
    said = [{"prompt": f"What is {n}?", "completion": f"{n} is a number", "group": str(n)} for n in range(8)]
    write_instructions(folder, {"instruct": said, "test": [*said, {"prompt": "Why?", "group": "why"}]})
    write_corpus(workspace / "data/corpus", {split: [] for split in ("train", "validation", "test")})
    contexts = [run_component(component, workspace, {**QUICK, "lm_eval": {"tasks": []}}, instance=name)
                for name in ("base", "instruct")]  # fmt: skip
    for context in contexts:
        metric = _metrics(context)["answer_loss"]
        assert context.headline == "answer_loss" and metric.n == 8 and metric.stderr > 0
        assert 0 < metric.baselines["unigram"] < metric.value  # the model is random
    report = json.loads((contexts[1].outputs["report"] / "report.json").read_text())
    assert report["answers"]["answer_loss"]["loss"] == _metrics(contexts[1])["answer_loss"].value
    assert "demonstrated answers" in pages.evaluate.render(contexts[1].outputs["report"]).html()


def test_own_task_files_count_and_one_that_cannot_be_run_is_refused_with_its_reason(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    _write_task(workspace, "sums")
    _write_task(workspace, "unsafe_sums", unsafe_code=True)
    _write_task(workspace, "lost_sums", dataset_kwargs={"data_files": {"test": "tasks/nowhere.jsonl"}})
    parameters = {**QUICK, "lm_eval": {"tasks": ["unsafe_sums", "sums", "lost_sums"], "include_path": "tasks"}}
    context = run_component(component, workspace, parameters, instance="base")
    metrics = _metrics(context)
    assert metrics["lm_eval_sums_acc"].n == 6
    assert metrics["lm_eval_sums_acc"].eval_set is None
    assert metrics["lm_eval_sums_acc"].stderr is not None
    assert not any("unsafe" in name or "lost" in name for name in metrics)
    unsafe, lost = (warning for warning in context.warnings if "was left out" in warning)
    assert "unsafe_sums" in unsafe and "runs code that the model writes" in unsafe
    assert "lost_sums" in lost and "nowhere.jsonl" in lost and "\n" not in lost


def test_items_of_own_tasks_that_were_learnt_are_listed(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    _write_task(workspace, "sums")
    rows = [{"question": f"How many are {n} apples, and one more apple that is red", "answer": "1"} for n in range(6)]
    (workspace / "tasks/sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    learnt = "Asked at school: how many are 3 apples and one more apple that is red? Nobody knew."
    write_corpus(workspace / "data/corpus", {"train": [(learnt, "docstring", "a"), ("another text", "docstring", "b")]})
    parameters = {**QUICK, "lm_eval": {"tasks": ["sums"], "include_path": "tasks"}}
    context = run_component(component, workspace, parameters, instance="base")
    pairs = json.loads((context.outputs["report"] / "contamination.json").read_text())["pairs"]
    assert {"training": "corpus/train", "evaluation": "lm_eval/sums", "items": 6, "overlapping": 1, "documents": 1,
            "seen": 1, "left": 1} in pairs  # fmt: skip
    passages = (context.outputs["report"] / "contamination.jsonl").read_text().splitlines()
    assert "3 apples and one more apple that is red" in json.loads(passages[0])["passage"]
    assert "lm_eval/sums" in pages.evaluate.render(context.outputs["report"]).html()
    [warning] = [each for each in context.warnings if "1 of 6 items of lm_eval/sums overlap with corpus/train" in each]
    assert f"reports/evaluate-{context.instance}/contamination.jsonl lists the passages" in warning


def test_spelled_control_tokens_are_measured_as_text(workspace):
    marked = "the end <|endoftext|> of a text"
    write_corpus(workspace / "data/corpus", {"test": [(marked, "docstring", "a"), ("another text", "docstring", "b")]})
    asked = {"prompt": f"What is {marked}?", "completion": "It.", "kind": "k", "group": "g"}
    write_instructions(workspace / "data/instructions", {"test": [asked]})
    context = run_component(component, workspace, QUICK, instance="base")
    report = json.loads((context.outputs["report"] / "report.json").read_text())
    tokenizer = load_tokenizer(context.inputs["model"])
    lengths = [len(tokenizer(text, split_special_tokens=True)["input_ids"]) for text in (marked, "another text")]
    assert report["held_out"]["tokens"] == sum(lengths) + 2
    # The harness would make a control token of it: the document is left to the stage's own measure.
    assert [row["n"] for row in report["lm_eval"]["tasks"]] == [1, 1, 1]


def test_unknown_tasks_are_all_named(workspace, monkeypatch):
    from lm_eval.tasks import manager

    # Of the harness's own task files a few: to read all thousands takes seconds.
    shutil.copytree(Path(manager.__file__).parent / "arc", workspace / "harness/arc")
    monkeypatch.setattr(manager, "__file__", str(workspace / "harness/manager.py"))
    tasks = {"tasks": ["nope", "arc_easy", "neither"]}
    with pytest.raises(InputProblem) as problem:
        run_component(component, workspace, {**QUICK, "lm_eval": tasks}, instance="base")
    assert len(problem.value.problems) == 2
    assert "instruction_choice" in problem.value.problems[0]


def test_missing_include_path(workspace):
    with pytest.raises(InputProblem, match="no folder 'nowhere'"):
        run_component(component, workspace, {"lm_eval": {"include_path": "nowhere"}}, instance="base")


def test_empty_test_split(workspace):
    write_corpus(workspace / "data/corpus", {"test": []})
    with pytest.raises(InputProblem, match="test split"):
        run_component(component, workspace, QUICK, instance="base")


def test_prompts_longer_than_the_context_are_named(workspace):
    rows = [{"prompt": "word " * 200, "reference": "x", "verifier": "closed_answer", "kind": "k", "group": "g"}] * 12
    write_instructions(workspace / "data/instructions", {"test": rows})
    with pytest.raises(InputProblem) as problem:
        run_component(component, workspace, QUICK, instance="instruct")
    assert "... and 2 more" in problem.value.problems
    assert "128 tokens" in problem.value.problems[-1]


def test_questions_that_the_template_refuses_are_left_out_and_counted(tmp_path):
    context = Context(None, 0, {}, {}, tmp_path)
    system = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], "prompt": "q"}
    assert askable(context, tokenizer("gemma"), [{"prompt": "q"}, system]) == [{"prompt": "q"}]
    [warning] = context.warnings
    assert "1 of 2 rows are left out" in warning and "System role not supported" in warning


def test_encoders_are_refused_in_a_sentence(workspace):
    shutil.rmtree(workspace / "models/base")
    tiny.save(workspace / "models/base", "bert")
    with pytest.raises(InputProblem, match="bert is an encoder, which writes no text"):
        run_component(component, workspace, QUICK, instance="base")


def test_encoder_decoders_are_measured_by_their_answers(workspace):
    shutil.rmtree(workspace / "models/base")
    tiny.save(workspace / "models/base", "t5")
    rows = [{"prompt": f"the {word}", "completion": word, "group": word} for word in tiny.WORDS[2:12]]
    write_instructions(workspace / "data/instructions", {"test": rows})
    context = run_component(component, workspace, QUICK, instance="base")
    metrics = _metrics(context)
    page = pages.evaluate.render(context.outputs["report"]).html()
    assert set(metrics) == {"rouge_l", "bleu", "chrf", "f1", "exact_match"} and context.headline == "rouge_l"
    assert metrics["rouge_l"].baselines == {"copy of the question": pytest.approx(2 / 3)}
    assert "copy of the question" in page
