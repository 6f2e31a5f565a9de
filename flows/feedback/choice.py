"""Pairs of answers for people to judge: two versions answer, and reward model and judge say which they prefer.

The questions are those that preference tuning is trained on (``data/instructions/preference.jsonl``), so that what
people say of the answers can be trained on too: it has nothing of a test split.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.evaluate.parameters import EvaluateParameters
from components.finetuning.records import Record, conversation, read_records
from core.errors import InputProblem
from core.workspace import Workspace
from deploy import judging, prepared_pairs
from deploy.gateway.local_generation import checked_files
from deploy.prepared_pairs import PreparedPair, PreparedPairs
from registry.db.database import open as open_registry
from registry.errors import RegistryError
from registry.integrity.history import resolve
from registry.promotion.parameters import load_section

REWARD_MODEL = "reward@champion"
FILE = "preference"


@dataclass(frozen=True)
class PreparedChoice:
    """What was prepared.

    Attributes:
        same: questions to which both answers are the same, which are not asked about.
        unusable: questions that one of the models cannot be asked: too long, or not of one turn.
        opposed: pairs of which reward model and judge name different winners.
        warnings: what the user should know of the reward model's opinions.
    """

    pairs: PreparedPairs
    same: int
    unusable: int
    opposed: int
    warnings: list[str]


@dataclass(frozen=True)
class _Party:
    name: str
    files: Path
    artifact: int


def choose(
    workspace: Workspace, a: str, b: str, *, questions: int, seed: int, say: Callable[[str], None]
) -> PreparedChoice:
    """Prepare pairs of answers of two versions; they take the place of those prepared before.

    Args:
        questions: at most so many, a sample by seed.
        say: called with a line before each part of the work.

    Raises:
        InputProblem: what it needs is not there; every problem at once.
        RegistryError: a version's files are missing or not what was registered.
        JudgeFailed: the judge cannot be reached, or stopped answering; verdicts so far are kept.
    """
    from components.comparison import disagreement
    from components.evaluate.judge.pairs import compare
    from components.finetuning.rewards import load_rewarder

    one, other, rewarding = _parties(workspace, a, b)
    parameters = load_section(workspace.root, "evaluate", EvaluateParameters)
    records = _questions(workspace.root, questions, seed)
    with judging.judge_for(workspace, "feedback choose", [one.artifact, other.artifact]) as judge:
        usable = list(range(len(records)))
        said: list[dict[int, str]] = []
        for party in (one, other):
            say(f"{party.name} answers {len(usable)} questions")
            said.append(_answers(party, records, usable, parameters.answers.max_new_tokens))
            usable = [place for place in usable if place in said[-1]]
        if not usable:
            raise InputProblem("no question leaves both models room for an answer: shorten the questions")
        kept = [place for place in usable if said[0][place] != said[1][place]]
        if not kept:
            raise InputProblem(f"{one.name} and {other.name} give the same answer to all {len(usable)} questions")
        say(f"{rewarding.name} and {judge.identity} judge {len(kept)} pairs")
        asked, (first, second) = [records[place] for place in kept], ([each[place] for place in kept] for each in said)
        reward = load_rewarder(rewarding.files, seed)
        rewards = zip(reward(asked, first), reward(asked, second), strict=True)
        unread = reward.words("answers of both models", reward.take())
        prompts = [record["prompt"] for record in asked]
        verdicts = compare(judge, list(zip(prompts, first, second, strict=True)))
    opinions = [
        disagreement.Opinions(disagreement.preference(*each), verdict.win)
        for each, verdict in zip(rewards, verdicts, strict=True)
    ]
    pairs = tuple(
        PreparedPair(
            question=prompts[place], a=first[place], b=second[place], at_random=at_random,
            reward=opinions[place].reward, judge=opinions[place].judge, disagreement=opinions[place].disagreement,
        )
        for place, at_random in disagreement.order(opinions, seed)
    )  # fmt: skip
    made = PreparedPairs(
        a=one.name, b=other.name, made=time.time(), reward_model=rewarding.name, judge_model=judge.identity, pairs=pairs
    )
    prepared_pairs.write(workspace.home, made)
    opposed = sum(each.judge is not None and (each.reward - 0.5) * (each.judge - 0.5) < 0 for each in opinions)
    return PreparedChoice(made, len(usable) - len(kept), len(records) - len(usable), opposed, unread)


def _parties(workspace: Workspace, a: str, b: str) -> tuple[_Party, _Party, _Party]:
    """Both versions and the reward model, with their verified files."""
    found, problems = [], []
    for reference in (a, b, REWARD_MODEL):
        try:
            name, files, _ = checked_files(workspace, reference)
            with open_registry(workspace.registry_url) as registry, registry.read() as session:
                found.append(_Party(name, files, resolve(workspace, session, name).artifact_id))
        except RegistryError as error:
            problems.append(f"{reference}: {error}")
    if not problems and found[0].name == found[1].name:
        problems.append(f"{a} and {b} are both {found[0].name}; name two versions")
    problems += judging.problems(workspace)
    if problems:
        raise InputProblem(problems)
    one, other, rewarding = found
    return one, other, rewarding


def _questions(root: Path, most: int, seed: int) -> list[Record]:
    """Questions of one turn, each once, a sample by seed in the order of the file."""
    records = read_records(root / "data" / "instructions", FILE, needs="prompt")
    single = {
        record["prompt"]: record
        for record in records
        if [turn["role"] for turn in conversation(record)] == ["user"] and not record.get("tools")
    }
    if not single:
        raise InputProblem(f"data/instructions/{FILE}.jsonl has no question of one turn, as people are asked")
    rows = list(single.values())
    if len(rows) <= most:
        return rows
    return [rows[place] for place in np.sort(np.random.default_rng(seed).choice(len(rows), size=most, replace=False))]


def _answers(party: _Party, records: Sequence[Record], places: Sequence[int], longest: int) -> dict[int, str]:
    """The greedy answer to each of the records at ``places`` that the model can be asked, by its place."""
    from components.conversations import refusals, render
    from components.finetuning.models import context_length, load_causal, load_tokenizer
    from components.generation import answers

    tokenizer = load_tokenizer(party.files)
    if not tokenizer.chat_template:
        raise InputProblem(f"{party.name} has no chat template: it has learnt documents and no turns")
    model = load_causal(party.files, dtype="auto").eval()
    asked = {place: conversation(records[place]) for place in places}
    refused = refusals(tokenizer, list(asked.values()))
    fit = [place for number, place in enumerate(asked) if number not in refused]
    room = context_length(model, tokenizer) - 1
    fit = [
        place
        for place, ids in zip(fit, render(tokenizer, [asked[place] for place in fit]), strict=True)
        if len(ids) <= room
    ]
    replies = answers(model, tokenizer, [asked[place] for place in fit], max_new_tokens=longest, batch_size=32)
    return {place: reply for place, [reply] in zip(fit, replies, strict=True)}
