"""Questions about signatures as instruction data: which functions go to which split, and what is asked of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from components.tasks.contract import SPLITS, TaskData, choose_split, unit_hash
from components.tasks.signatures import VERIFIER
from components.tasks.signatures.functions import Function, standard_library
from components.tasks.signatures.parameters import SignaturesParameters
from components.tasks.signatures.questions import KINDS, YES_NO, Question, as_text, ask, chatty
from core.errors import InputProblem

Item = TypeVar("Item")


@dataclass
class Selection:
    """Questions by split, the functions outside instruct, and what was left out why."""

    questions: dict[str, list[Question]]
    held_out: set[str]
    left_out: Counter[str] = field(default_factory=Counter)
    functions: dict[str, int] = field(default_factory=dict)


def build(parameters: SignaturesParameters, shares: Mapping[str, float], seed: int) -> TaskData:
    """The questions of every split. Raises InputProblem if the interpreter's library is too small for them."""
    functions, unreadable = standard_library()
    selection = select(functions, parameters, shares, seed)
    empty = [split for split in SPLITS if not selection.questions[split]]
    if empty:
        raise InputProblem(
            f"curate.instructions: the standard library of this interpreter ({len(functions)} functions found) gives "
            f"no questions for {', '.join(empty)}: install its full library, or raise "
            "curate.instructions.signatures.max_prompt_characters"
        )
    documents = [
        {
            "text": as_text(question, rendering),
            "source": "signatures",
            "kind": "question",
            "group": question.function.module,
            "license": "PSF-2.0",
            "origin": question.function.qualified_name,
        }
        for question in selection.questions["instruct"]
        for rendering in range(parameters.renderings)
    ]
    report = {
        "functions": len(functions),
        "functions_by_split": selection.functions,
        "functions_held_out": len(selection.held_out),
        "left_out": dict(sorted(selection.left_out.items())),
        "unreadable_files": unreadable,
    }
    records = {
        split: [record(question, split, seed, parameters.chatty_share) for question in selection.questions[split]]
        for split in SPLITS
    }
    return TaskData(records, documents, {("docstring", name) for name in selection.held_out}, report)


def select(
    functions: Sequence[Function], parameters: SignaturesParameters, shares: Mapping[str, float], seed: int
) -> Selection:
    """Split functions by parameter list, and ask a balanced set of questions in each split.

    ``shares`` are those of the parameter lists outside instruct.
    """
    by_list: dict[str, list[Function]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    for function in functions:
        if function.parameters:
            by_list[function.list_key].append(function)
        else:
            left_out["functions without parameters"] += 1

    members: dict[str, list[Function]] = {split: [] for split in SPLITS}
    held_out: set[str] = set()
    sizes: Counter[str] = Counter()
    for key in sorted(by_list):
        group = by_list[key]
        split = "instruct"
        if len(group) <= parameters.common_list:
            split = choose_split(key, seed, shares, rest="instruct", purpose="list")
        sizes[split] += len(group)
        if split != "instruct":
            # By name: of a function defined twice (for two platforms, say) every docstring is held out.
            held_out.update(function.qualified_name for function in group)
        most = parameters.functions_per_list if split == "instruct" else 1
        shown = _shuffled({f.text: f for f in reversed(group)}.values(), seed, lambda f: f.qualified_name)[:most]
        left_out["functions whose parameter list is asked about elsewhere"] += len(group) - len(shown)
        members[split] += shown
    questions = {
        split: _choose(members[split], getattr(parameters.questions, split), parameters, seed, left_out)
        for split in SPLITS
    }
    return Selection(questions, held_out, left_out, dict(sizes))


def record(question: Question, split: str, seed: int, chatty_share: float) -> dict[str, Any]:
    """A question as one line of the instruction files.

    Answers start with a space, as names in the signature do: a byte-level tokenizer then cuts both alike.
    """
    style = None
    if split == "instruct":
        style = "chatty" if unit_hash(seed, "style", question.prompt) < chatty_share else "terse"
    answer = chatty(question.answer) if style == "chatty" else question.answer
    return {
        "prompt": question.prompt,
        "completion": f" {answer}",
        "kind": question.kind,
        "group": question.function.qualified_name,
        "style": style,
        "reference": question.answer,
        "verifier": VERIFIER,
    }


def _choose(
    functions: Iterable[Function], wanted: int, parameters: SignaturesParameters, seed: int, left_out: Counter[str]
) -> list[Question]:
    """At most ``wanted`` questions: answers capped within each kind, then one of each kind in turn."""
    pools: dict[str, dict[str, Question]] = {kind: {} for kind in KINDS}
    for function in functions:
        asked = False
        for question in ask(function, parameters.max_answer_characters):
            if len(question.prompt) <= parameters.max_prompt_characters:
                pools[question.kind].setdefault(question.prompt, question)
                asked = True
        left_out["functions with too long a signature"] += not asked

    queues = []
    for kind, pool in pools.items():
        share = 0.5 if kind in YES_NO else parameters.largest_answer_share
        kept = _capped(_shuffled(pool.values(), seed, lambda q: q.prompt), share)
        # Shuffled anew: the capped list starts with more of the common answers than it ends with.
        queues.append(iter(_shuffled(kept, seed, lambda q: q.prompt, "turn")))

    chosen: list[Question] = []
    per_function: Counter[str] = Counter()
    while queues and len(chosen) < wanted:
        for queue in list(queues):
            for question in queue:
                if per_function[question.function.qualified_name] < parameters.questions_per_function:
                    per_function[question.function.qualified_name] += 1
                    chosen.append(question)
                    break
            else:
                queues.remove(queue)
            if len(chosen) == wanted:
                break
    return _shuffled(chosen, seed, lambda q: q.prompt)


def _capped(questions: Sequence[Question], share: float) -> list[Question]:
    """The longest list, order kept, in which no answer makes up more than ``share`` (where that can be had)."""
    counts = Counter(question.answer for question in questions)
    sizes = Counter(counts.values())  # how many answers are given so often
    most = max(sizes, default=0)
    kept_then, capped = len(questions), sizes[most]  # questions kept with this cap; answers that occur so often or more
    while most > 1 and most > share * kept_then:
        most -= 1
        kept_then -= capped
        capped += sizes[most]
    seen: Counter[str] = Counter()
    kept = []
    for question in questions:
        seen[question.answer] += 1
        if seen[question.answer] <= most:
            kept.append(question)
    return kept


def _shuffled(items: Iterable[Item], seed: int, key: Callable[[Item], str], purpose: str = "order") -> list[Item]:
    """In an order that depends on the seed, the purpose and each item's own key alone."""
    return sorted(items, key=lambda item: (unit_hash(seed, purpose, key(item)), key(item)))
