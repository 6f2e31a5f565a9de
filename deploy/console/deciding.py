"""Decisions in the background: a promotion may have to measure first, for minutes, and no browser waits so long.

One is made at a time. What it does is what the command does, in a thread of the console; where the console ends before
it, nothing was decided, and the model's history says so.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import InputProblem, StemmaError
from registry.promotion.promote import PromotionOutcome

log = logging.getLogger(__name__)

MOST_KEPT = 50  # decisions of this console whose end can be looked at
Say = Callable[[str], None]


@dataclass
class Decision:
    """A promotion or a rollback that was asked for here.

    Attributes:
        what: in words, such as ``promotion of base:2 to @champion``; ``page``: where its outcome is shown.
        lines: what it did so far.
        problem: why nothing was decided; ``None`` until it ends, and where it was.
    """

    id: str
    what: str
    page: str
    person: str
    began: float
    lines: list[str] = field(default_factory=list)
    outcome: PromotionOutcome | None = None
    problem: Exception | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def at_work(self) -> bool:
        return not self.ended.is_set()

    @property
    def steps(self) -> list[str]:
        """What it does and did, in sentences; the gate's checks have no lines of their own."""
        return [*self.lines, "the gate judges"] if self.at_work else self.lines

    @property
    def problems(self) -> list[str]:
        """What went wrong, in sentences."""
        if isinstance(self.problem, InputProblem):
            return list(self.problem.problems)
        if isinstance(self.problem, StemmaError):
            return [str(self.problem)]
        return [] if self.problem is None else ["The console failed; its log says why."]


class DecisionsAtWork:
    """The decision that is being made, and those that have ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[str, Decision] = {}

    def all(self) -> list[Decision]:
        """Those of this console, the newest first."""
        with self._lock:
            return list(reversed(self._all.values()))

    def find(self, identity: str) -> Decision | None:
        with self._lock:
            return self._all.get(identity)

    def start(self, what: str, page: str, person: str, decide: Callable[[Say], PromotionOutcome]) -> Decision:
        """Begin a decision in a thread of its own.

        Args:
            decide: makes it; gets a function that takes a line for each thing that it does.

        Raises:
            InputProblem: another one is being made.
        """
        decision = Decision(secrets.token_urlsafe(9), what, page, person, time.time())
        with self._lock:
            if busy := next((each for each in self._all.values() if each.at_work), None):
                raise InputProblem(
                    f"another decision is being made ({busy.what}, by {busy.person}); wait for its end, which the page "
                    "Runs shows, and look at its outcome first"
                )
            self._all[decision.id] = decision
            while len(self._all) > MOST_KEPT:
                del self._all[next(iter(self._all))]
        threading.Thread(target=self._make, args=(decision, decide), daemon=True, name="decision").start()
        return decision

    @staticmethod
    def _make(decision: Decision, decide: Callable[[Say], PromotionOutcome]) -> None:
        def say(line: str) -> None:
            log.info("%s: %s", decision.what, line)
            decision.lines.append(line)

        try:
            decision.outcome = decide(say)
        except Exception as error:
            if not isinstance(error, StemmaError):
                log.exception("%s failed", decision.what)
            decision.problem = error
        finally:
            decision.ended.set()
