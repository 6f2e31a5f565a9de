"""Verdicts: asked for side by side, kept by the digest of judge, prompt and answers, and counted when they fail."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from components.evaluate.judge.client import JudgeClient, JudgeFailed
from components.evaluate.judge.parameters import JudgeParameters
from components.evaluate.judge.prompts import Prompt
from core import files


@dataclass(frozen=True)
class Case:
    """What is put before the judge: a prompt, and the texts that fill it in."""

    prompt: Prompt
    texts: dict[str, str]

    @property
    def messages(self) -> list[dict[str, str]]:
        return self.prompt.messages(**self.texts)


@dataclass(frozen=True)
class Ruling:
    """What the judge said.

    Attributes:
        value: score or side; ``None`` where there is none, and ``failure`` says why.
        answer: the judge's words.
        passing: it failed for a reason that may be gone the next time; such a verdict is not kept.
        asked_by: the piece of work that it was asked for, so that its tokens are counted once.
    """

    value: float | str | None
    answer: str | None
    failure: str | None
    passing: bool
    model: str | None
    prompt_tokens: int
    completion_tokens: int
    asked_by: str


@dataclass
class Tally:
    """What judging took, over all the verdicts of one piece of work.

    Attributes:
        failures: number of questions without a verdict, by reason.
        models: names under which the judging model answered.
        prompt_tokens, completion_tokens: of all these verdicts, whenever they were asked for.
        own_prompt_tokens, own_completion_tokens: of those that this piece of work asked for.
    """

    asked: int = 0
    judged: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    models: set[str] = field(default_factory=set)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    own_prompt_tokens: int = 0
    own_completion_tokens: int = 0

    def as_dict(self) -> dict[str, Any]:
        """What a report shows: the same whether verdicts were asked for now or taken from the cache."""
        return {
            "asked": self.asked,
            "judged": self.judged,
            "failures": dict(sorted(self.failures.items())),
            "models": sorted(self.models),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }


class Judge:
    """A judging model and the verdicts it has given.

    Args:
        kept: folder of the verdicts; ``None``: none are kept.
        work: names the piece of work that asks.
    """

    def __init__(self, parameters: JudgeParameters, client: JudgeClient, kept: Path | None, work: str):
        self.parameters, self.client, self.kept, self.work = parameters, client, kept, work
        self.identity = client.require()
        self.tally = Tally()

    def verdicts(
        self,
        questions: Sequence[Case],
        advance: Callable[[], None] = lambda: None,
    ) -> list[Ruling]:
        """A verdict on each question, in their order; those without a value are counted in ``tally``.

        Args:
            advance: called after each; may raise to stop.

        Raises:
            JudgeFailed: so many requests failed for the server's or the network's sake that the rest is too little
                to measure by; or no request will be served. What was judged is kept.
        """
        places: dict[str, list[int]] = {}
        for place, question in enumerate(questions):
            places.setdefault(self._key(question), []).append(place)  # equal questions are asked once
        found: list[Ruling | None] = [None] * len(questions)
        bearable = len(questions) - self.parameters.min_judged * len(questions)
        lost = 0
        pool = ThreadPoolExecutor(self.parameters.concurrency, thread_name_prefix="judge")
        try:
            waiting = {pool.submit(self._one, key, questions[of[0]]): of for key, of in places.items()}
            for done in as_completed(waiting):
                verdict = done.result()
                for place in waiting[done]:
                    found[place] = verdict
                    advance()
                if verdict.passing:
                    lost += len(waiting[done])
                    if lost > bearable:
                        raise JudgeFailed(
                            f"the judge {self.parameters.model} at {self.parameters.endpoint} left {lost} of "
                            f"{len(questions)} questions without a verdict ({verdict.failure}), more than "
                            f"min_judged ({self.parameters.min_judged:g}) allows; the verdicts so far are kept, so run "
                            f"again when it answers"
                        )
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._count(found, {place for of in places.values() for place in of[1:]})
        return [verdict for verdict in found if verdict is not None]

    def _one(self, key: str, question: Case) -> Ruling:
        path = self.kept / f"verdict-{key}.json" if self.kept else None
        if path is not None and (earlier := _read(path, question.prompt)) is not None:
            return earlier
        reply = self.client.ask(question.messages, question.prompt.fault)
        value = question.prompt.read(reply.text) if reply.text is not None else None
        verdict = Ruling(
            value, reply.text or reply.unusable, reply.failure, reply.passing, reply.model, reply.prompt_tokens,
            reply.completion_tokens, self.work,
        )  # fmt: skip
        if path is not None and not verdict.passing:
            body = {"judge": self.identity, "prompt": question.prompt.name, "texts": question.texts, **asdict(verdict)}
            files.write_json(path, body)
        return verdict

    def _key(self, question: Case) -> str:
        """Digest of the judge, the prompt (its wording, not its name) and the texts."""
        judge = [self.parameters.endpoint, self.identity, self.parameters.verdict_tokens]
        body = json.dumps({"judge": judge, "messages": question.messages}, sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()

    def _count(self, verdicts: Sequence[Ruling | None], repeated: set[int]) -> None:
        tally = self.tally
        for place, verdict in enumerate(verdicts):
            if verdict is None:  # the judging ended before it
                continue
            tally.asked += 1
            if verdict.value is None:
                tally.failures[verdict.failure or "no verdict"] += 1
            else:
                tally.judged += 1
            if verdict.model:
                tally.models.add(verdict.model)
            if place in repeated:
                continue
            tally.prompt_tokens += verdict.prompt_tokens
            tally.completion_tokens += verdict.completion_tokens
            if verdict.asked_by == self.work:
                tally.own_prompt_tokens += verdict.prompt_tokens
                tally.own_completion_tokens += verdict.completion_tokens


@contextlib.contextmanager
def judging(
    parameters: JudgeParameters, kept: Path | None, work: str, count: Callable[[Tally], None] = lambda tally: None
) -> Iterator[Judge]:
    """A judge that can be reached.

    Args:
        count: called at the end, also where the judging failed, with what it took.

    Raises:
        JudgeFailed: it cannot.
    """
    with JudgeClient(parameters) as client:
        judge = Judge(parameters, client, kept, work)
        try:
            yield judge
        finally:
            count(judge.tally)


def _read(path: Path, prompt: Prompt) -> Ruling | None:
    """A verdict that was kept; ``None`` where there is none, or what is there is none."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        verdict = Ruling(**{name: body[name] for name in Ruling.__dataclass_fields__})
        os.utime(path)  # the garbage collection removes what no run has taken for long
    except (OSError, ValueError, KeyError, TypeError):
        return None
    given = prompt.read(verdict.answer) if isinstance(verdict.answer, str) else None
    return verdict if given == verdict.value else None
