"""The evaluate stage: measure one model, record the metrics beside their baselines, write the report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.contract import Context
from components.conversations import text_ids
from components.evaluate import answers, held_out, items
from components.evaluate.contamination import compare_tasks
from components.evaluate.judge.measure import measure_judged, require_judge
from components.evaluate.lm_eval_tasks import find_tasks, measure_tasks
from components.evaluate.subject import Subject, load
from components.evaluate.suites import measure_suites
from components.finetuning import families
from components.tasks import has_verifier
from core.errors import InputProblem

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# The base model has learnt documents, not turns: the harness shows it questions as documents.
_CHAT_INSTANCES = frozenset({"instruct", "assistant"})


def run(context: Context) -> None:
    """Measure ``models/<instance>``."""
    parameters = context.parameters
    family = families.require(context.inputs["model"], "evaluate")
    if parameters.judge is not None:
        require_judge(parameters.judge)
    if context.spread is not None:  # what is wrong with the cluster is said now, not as a task that failed
        list(context.spread(load, context.inputs["model"], _nothing, [None]))
    if family.kind != "decoder":
        _measure_encoder_decoder(context)
        return
    # Read when tqdm is first imported: the lm-evaluation-harness would draw its bars over the run's own.
    os.environ.setdefault("TQDM_DISABLE", "1")
    manager = find_tasks(parameters.lm_eval.tasks, _include_path(parameters.lm_eval.include_path))
    corpus, instructions = context.inputs["corpus"], context.inputs["instructions"]
    test = training = held_out.Sample([], 0)
    if not (without_text := held_out.is_empty(corpus)):
        test = held_out.sample(corpus, "test", parameters.held_out.documents, context.seed)
        training = held_out.sample(corpus, "train", parameters.held_out.baseline_documents, context.seed)
    records, available = answers.load(instructions, parameters.answers.prompts, context.seed)

    import torch

    context.device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(context.seed)
    model, tokenizer = load(context.inputs["model"])
    # A base that was taken as it is may be a chat model, which is asked as the models that are made of it.
    chat = context.instance in _CHAT_INSTANCES or bool(without_text and tokenizer.chat_template)
    # The one metric for the run's last screen: a base model predicts, the others answer (if they can be judged).
    headline = "bits_per_byte"
    if chat or without_text:
        headline = "accuracy" if any(map(has_verifier, records)) else "answer_loss" if without_text else headline
    subject = Subject(
        context=context,
        model=model,
        tokenizer=tokenizer,
        headline=headline,
        chat=chat,
    )
    records = answers.askable(context, subject.tokenizer, records)
    answers.require_room(subject.tokenizer, records, subject.window)

    report: dict[str, Any] = {"instance": context.instance, "seed": context.seed, "chat": subject.chat}
    report["held_out"] = None if without_text else held_out.measure_held_out(subject, test, training)
    subject.raise_if_stopping()
    report["answers"] = answers.measure_answers(subject, records, available)
    subject.raise_if_stopping()
    report["lm_eval"], asked = measure_tasks(subject, test, records, manager)
    report["suites"], of_suites = measure_suites(subject)
    report["lm_eval"]["contamination"] = compare_tasks(context, {**asked, **of_suites})
    report["continuations"] = continuations(subject)
    subject.raise_if_stopping()
    report["judge"] = measure_judged(subject, records)
    items.write(context.outputs["report"], subject.items)

    context.report(report)


def _measure_encoder_decoder(context: Context) -> None:
    """An encoder-decoder answers the test instructions; it is no language model with a loss of documents."""
    report: dict[str, Any] = {"instance": context.instance, "seed": context.seed, "chat": True}
    report["kind"] = "encoder-decoder"
    report |= dict.fromkeys(("held_out", "answers", "lm_eval", "suites", "continuations"))
    records, available = answers.load(context.inputs["instructions"], context.parameters.answers.prompts, context.seed)
    model, tokenizer = load(context.inputs["model"])
    subject = Subject(
        context=context,
        model=model,
        tokenizer=tokenizer,
        headline="accuracy" if any(map(has_verifier, records)) else "rouge_l",
        chat=True,
    )
    context.device = str(subject.model.device)
    records = answers.askable(context, tokenizer, records) if tokenizer.chat_template else records
    answers.require_room(tokenizer, records, subject.window)
    report["answers"] = answers.measure_answers(subject, records, available)
    report["judge"] = measure_judged(subject, records)
    items.write(context.outputs["report"], subject.items)
    context.report(report)


def _nothing(loaded: Any, share: None) -> None:
    """What a copy is asked first."""


def continuations(subject: Subject) -> dict[str, Any]:
    """Continuations of the fixed prompts, and how they were drawn."""
    context = subject.context
    parameters = context.parameters.samples
    texts = continue_documents(
        subject.model,
        subject.tokenizer,
        parameters.prompts,
        max_new_tokens=parameters.max_new_tokens,
        temperature=parameters.temperature,
        context=subject.window,
        seed=context.seed,
    )
    pairs = zip(parameters.prompts, texts, strict=True)
    return {
        "temperature": parameters.temperature,
        "samples": [{"prompt": prompt, "continuation": text} for prompt, text in pairs],
    }


def continue_documents(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float,
    context: int,
    seed: int,
) -> list[str]:
    """What the model writes after each prompt, put where a document begins. Not chat: plain text for every model."""
    import torch
    from transformers import GenerationConfig

    texts = []
    for number, prompt in enumerate(prompts):
        ids = [tokenizer.eos_token_id, *text_ids(tokenizer, [prompt])[0]]
        ids = ids[-(context - 1) :]
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed + number)
            inputs = torch.tensor([ids], device=model.device)
            generated = model.generate(
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                generation_config=GenerationConfig(
                    max_new_tokens=min(max_new_tokens, context - len(ids)),
                    pad_token_id=tokenizer.pad_token_id,
                    eos_token_id=tokenizer.eos_token_id,
                    **sampling,
                ),
            )
        texts.append(tokenizer.decode(generated[0, len(ids) :], skip_special_tokens=True))
    return texts


def _include_path(configured: str | None) -> Path | None:
    if configured is None:
        return None
    path = Path(configured)
    if not path.is_dir():
        raise InputProblem(f"evaluate.lm_eval.include_path: there is no folder {configured!r} in the workspace")
    return path
