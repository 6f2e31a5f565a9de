"""The page of evaluate: every metric of one model beside its baselines, questions with answers, continuations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.pages.instruct_finetune import overlap_table
from components.pages.page import Page, read_report

_JUDGED_SHOWN = 12  # answers on the page; report.json has all of them


def render(folder: Path) -> Page:
    """The page of the report in ``folder``."""
    report = read_report(folder)
    page = Page(
        f"Evaluation of models/{report['instance']}",
        "Everything is measured on data the model was not trained on. ± is one standard error; documents of one "
        "module, and questions about one function, count as one cluster.",
    )
    if report.get("kind") == "encoder-decoder":
        page.heading("Held-out documents").text("An encoder-decoder predicts answers, not documents: no loss of these.")
    elif report["held_out"] is None:
        page.heading("Held-out documents").text("The corpus has no text, so no loss was measured.")
    else:
        _held_out(page, folder, report["held_out"])
    page.heading("Held-out instructions")
    if report["answers"] is None:
        page.text("There are no test instructions, so no answers were measured.")
    else:
        _answers(page, folder, report["answers"], report["instance"], report["chat"])
    if report["lm_eval"] is not None:
        _harness(page, report["lm_eval"], report["chat"])
        if report.get("suites"):
            _suites(page, report["suites"])
        _continuations(page, report["continuations"], report["seed"])
    if report.get("judge") is not None:
        _judge(page, report["judge"])
    return page


def _held_out(page: Page, folder: Path, held_out: dict[str, Any]) -> None:
    page.heading("Held-out documents")
    page.text(
        f"{held_out['documents']:,} of {held_out['documents_available']:,} documents of the corpus's test split, "
        f"{held_out['tokens']:,} tokens, {held_out['bytes']:,} bytes. Each document is scored alone, after the "
        f"document separator, its end token included, in sliding windows of {held_out['window']} tokens that move on "
        f"by half. Bits per byte divide by the text's UTF-8 bytes, so they compare across tokenizers; loss and "
        f"perplexity are per token. The baselines count n-grams of these tokens in "
        f"{held_out['baseline_documents']:,} of {held_out['baseline_documents_available']:,} training documents and "
        f"are normalised: {held_out['baseline_smoothing']}."
    )
    page.figure(folder / "bits_per_byte.png", "bits per byte of the model and of the n-gram baselines")
    bits, errors = held_out["bits_per_byte"], held_out["bits_per_byte_stderr"]
    page.table(
        ("", "bits per byte", "±", "loss", "perplexity"),
        [(name, bits[name], errors[name], held_out["loss"][name], held_out["perplexity"][name]) for name in bits],
    )
    page.table(
        ("kind of document", "documents", *bits),
        [
            (kind, row["documents"], *(row["bits_per_byte"][name] for name in bits))
            for kind, row in held_out["bits_per_byte_by_kind"].items()
        ],
    )


def _answers(page: Page, folder: Path, answers: dict[str, Any], instance: str, chat: bool) -> None:
    page.text(
        f"Greedy answers to {answers['prompts']:,} of {answers['available']:,} test instructions, at most "
        f"{answers['max_new_tokens']} tokens each; {answers['judged']:,} of them have a reference to judge by. "
        + (
            "Asked in the chat template, or as they are where there is none."
            if chat
            else "Asked as documents: `question Answer:`."
        )
    )
    if answers.get("overlap"):
        overlap_table(page, answers["overlap"])
    if answers["judged"]:
        _accuracy(page, folder, answers, instance)
    if text := answers.get("text"):
        _text_metrics(page, text)
    if answers.get("checks"):
        _checks(page, answers["checks"])
    if loss := answers.get("answer_loss"):
        page.text(
            f"Loss of {loss['n']:,} demonstrated answers that nothing can judge, in nats a token ({loss['tokens']:,} "
            "tokens), beside that of a unigram model of the training answers."
        )
        rows = [
            (instance, loss["loss"], loss["stderr"]),
            *((name, value, None) for name, value in loss["baselines"].items()),
        ]
        page.table(("", "loss", "±"), rows)
    if answers["examples"]:
        page.table(
            ("question", "reference", "answer"),
            [(example["prompt"], example["reference"], example["answer"]) for example in answers["examples"]],
        )


def _accuracy(page: Page, folder: Path, answers: dict[str, Any], instance: str) -> None:
    correct, terse, baselines = answers["accuracy"], answers["correct_and_terse"], answers["baselines"]
    page.table(
        ("", "correct", "±", "correct and terse", "±", "n"),
        [
            (instance, correct["value"], correct["stderr"], terse["value"], terse["stderr"], correct["n"]),
            *((name, s["value"], s["stderr"], s["value"], s["stderr"], s["n"]) for name, s in baselines.items()),
        ],
    )
    gains = [
        f"{gain['value']:+.3f}" + (f" ± {gain['stderr']:.3f}" if gain["stderr"] is not None else "") + f" to {name}"
        for name, gain in answers["gain_over"].items()
    ]
    page.text("Paired difference to the baselines on the same questions: " + "; ".join(gains) + ".")
    page.figure(folder / "accuracy_by_kind.png", "accuracy by kind of question, beside the baselines")
    page.table(
        ("kind", "n", "correct", "±", "correct and terse", *baselines),
        [
            (kind, row["accuracy"]["n"], row["accuracy"]["value"], row["accuracy"]["stderr"],
             row["correct_and_terse"]["value"], *(row["baselines"][name] for name in baselines))
            for kind, row in answers["by_kind"].items()
        ],
    )  # fmt: skip


def _text_metrics(page: Page, text: dict[str, Any]) -> None:
    page.text(
        f"{text['n']:,} answers beside those that their rows demonstrate: exact match and F1 of words after SQuAD's "
        "normalisation and ROUGE-L, 0 to 1; BLEU and chrF, 0 to 100. They say how alike an answer is, not how right."
    )
    page.table(
        ("metric", "value", "±", "copy of the question"),
        [(name, m["value"], m["stderr"], m["copy of the question"]) for name, m in text["metrics"].items()],
    )
    page.table(
        ("kind", "n", *text["metrics"]),
        [
            (kind, next(iter(part.values()))["n"], *(part[name]["value"] for name in text["metrics"]))
            for kind, part in text["by_kind"].items()
        ],
    )


def _checks(page: Page, checks: list[dict[str, Any]]) -> None:
    page.text("Your own checks of every answer:")
    measured = [check for check in checks if not check["refused"]]
    page.table(
        ("check", "by", "kind", "value", "±", "n"),
        [
            (check["name"], check["type"], kind, part["value"], part["stderr"], part["n"])
            for check in measured
            for kind, part in ({"all": check} | (check["by_kind"] if len(check["by_kind"]) > 1 else {})).items()
        ],
    )
    for check in checks:
        if check["refused"]:
            page.text(f"{check['name']} was left out: {check['refused']}.")


def _harness(page: Page, harness: dict[str, Any], chat: bool) -> None:
    chance = harness["chance"]
    page.heading("lm-evaluation-harness")
    page.text(
        f"At most {harness['limit']} items of a task, no examples in the prompt, "
        + ("questions in the chat template." if chat else "questions as plain documents.")
        + " instruction_choice asks which of up to four answers is the most probable; chance is "
        + (f"{chance:.3f}." if chance is not None else "not defined without items.")
        + " heldout_documents uses disjoint windows and no end token, so it differs a little from the values above."
    )
    page.table(
        ("task", "metric", "value", "±", "n"),
        [(task["task"], task["metric"], task["value"], task["stderr"], task["n"]) for task in harness["tasks"]],
    )
    if compared := harness.get("contamination"):
        page.text("Items of these tasks that training texts hold; contamination.jsonl lists the passages:")
        page.table(
            ("training set", "task", "items", "that overlap", "seen", "training texts"),
            [
                (p["training"], p["evaluation"], p["items"], p["overlapping"], p["seen"], p["documents"])
                for p in compared
            ],
        )
    for task, reason in harness["refused"].items():
        page.text(f"{task} was left out: {reason}.")


def _suites(page: Page, suites: list[dict[str, Any]]) -> None:
    page.heading("Suites")
    page.text(
        "Public benchmarks by the lm-evaluation-harness, each from the source that is named; chance is what guessing "
        "gets. Code that the model wrote ran in a sandbox."
    )
    page.table(
        ("suite", "task", "metric", "value", "±", "n", "chance", "asked"),
        [
            (row["suite"], row["task"], metric["metric"], metric["value"], metric["stderr"], metric["n"],
             metric["chance"], "in the chat template" if row["chat"] else "as documents")
            for row in suites
            for metric in row["metrics"]
        ],
    )  # fmt: skip
    page.table(
        ("suite", "task", "source", "SHA-256"),
        [(row["suite"], row["task"], row["source"], row.get("sha256")) for row in suites],
    )
    for row in suites:
        if row["refused"]:
            page.text(f"{row['suite']}: {row['task']} was left out: {row['refused']}.")


def _continuations(page: Page, continuations: dict[str, Any], seed: int) -> None:
    if not continuations["samples"]:
        return
    page.heading("Continuations")
    page.text(f"Plain text, temperature {continuations['temperature']}, seed {seed}; the prompt is in brackets.")
    page.code("\n\n".join(f"[{sample['prompt']}]{sample['continuation']}" for sample in continuations["samples"]))


def _judge(page: Page, judge: dict[str, Any]) -> None:
    verdicts = judge["verdicts"]
    page.heading("Judged by a language model")
    page.text(
        f"{judge['model']} at {judge['endpoint']} gave {verdicts['judged']:,} verdicts on {verdicts['asked']:,} "
        f"questions, for {verdicts['prompt_tokens']:,} prompt and {verdicts['completion_tokens']:,} completion tokens."
    )
    for reason, count in verdicts["failures"].items():
        page.text(f"Without a verdict: {count} × {reason}.")
    if "score" in judge:
        lowest = {10: 1, 100: 0}[judge["scale"]]
        page.text(f"Scores from {lowest} to {judge['scale']}; prompts: {', '.join(judge['prompts'])}.")
    bench = judge.get("mt_bench") or {}
    if bench.get("left_out"):
        page.text(f"MT-Bench: {bench['left_out']} of {2 * bench['questions']} answers were not asked for.")
    named = (
        ("score", judge.get("score")),
        ("win rate against demonstrated answers, a tie counting half", judge.get("judge_win_rate")),
        ("the same at equal lengths", judge.get("judge_win_rate_length_controlled")),
        ("MT-Bench", bench.get("mt_bench")),
        ("MT-Bench, first turn", bench.get("mt_bench_turn_1")),
        ("MT-Bench, second turn", bench.get("mt_bench_turn_2")),
    )
    if rows := [(name, value["value"], value["stderr"], value["n"]) for name, value in named if value]:
        page.table(("", "value", "±", "n"), rows)
    if "inconsistent" in judge:
        page.text(f"{judge['inconsistent']} pairs were judged by their order alone, and count as ties.")
    if bench.get("by_category"):
        page.table(("MT-Bench category", "score"), list(bench["by_category"].items()))
    if shown := judge.get("answers", [])[:_JUDGED_SHOWN]:
        page.table(
            ("question", "answer", "verdict", "the judge's words"),
            [
                (each["question"], each["answer"], each.get("score", each.get("win")),
                 each.get("judgement") or "\n\n".join(filter(None, each.get("judgements", ()))) or each.get("failure"))
                for each in shown
            ],
        )  # fmt: skip
