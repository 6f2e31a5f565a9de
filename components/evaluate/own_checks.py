"""A user's own checks of every answer: a regular expression, a JSON schema, a Python function.

The function is a file below ``data/raw`` with ``score(record, answer)``, which gives a number, or ``None`` for an
answer that it does not judge. It runs in the sandbox, with the packages that are installed beside Stemma.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.contract import Metric
from components.evaluate.items import Item, identities
from components.evaluate.parameters import Check, FunctionCheck, JsonSchemaCheck, RegexCheck
from components.evaluate.subject import Subject
from components.finetuning.records import Record
from components.statistics import estimate
from core import sandbox
from core.errors import InputProblem

BOUNDS = sandbox.Bounds(seconds=600, memory_megabytes=8192, processes=32, file_megabytes=64)
_CALL = """
import json, sys
given, out, sys.stdout = json.load(sys.stdin), sys.stdout, sys.stderr
names = {"__name__": "checks"}
exec(compile(given["source"], given["path"], "exec"), names)
found = [names["score"](record, answer) for record, answer in given["pairs"]]
out.write(json.dumps([None if score is None else float(score) for score in found]))
"""


def measure_checks(subject: Subject, records: Sequence[Record], replies: Sequence[str]) -> list[dict[str, Any]]:
    """Record the mean of every check; one that cannot be run is left out with a warning."""
    context = subject.context
    report = []
    for check in context.parameters.answers.checks:
        try:
            scores = _scores(check, context.inputs.get("raw"), records, replies)
        except InputProblem as problem:
            context.warn(f"evaluate.answers.checks: {check.name} was left out: {problem}")
            report.append({"name": check.name, "type": check.type, "refused": str(problem)})
            continue
        judged = [place for place, score in enumerate(scores) if score is not None]
        if not judged:
            context.warn(f"evaluate.answers.checks: {check.name} judged none of the {len(records)} answers")
            report.append({"name": check.name, "type": check.type, "refused": "it judged no answer"})
            continue
        values = [float(scores[place] or 0.0) for place in judged]
        found = estimate(values, [records[place]["group"] for place in judged])
        context.record(Metric(check.name, found.value, check.higher_is_better, found.stderr, found.n, "instructions"))
        names = identities(records[place]["prompt"] for place in judged)
        subject.items.extend(
            Item("instructions", item, check.name, value, replies[place], records[place].get("completion"),
                 records[place]["prompt"], records[place]["group"])
            for item, place, value in zip(names, judged, values, strict=True)
        )  # fmt: skip
        kinds = sorted({records[place]["kind"] for place in judged})
        by_kind = {}
        for kind in kinds:
            here = [number for number, place in enumerate(judged) if records[place]["kind"] == kind]
            groups = [records[judged[number]]["group"] for number in here]
            by_kind[kind] = asdict(estimate([values[number] for number in here], groups))
        report.append({"name": check.name, "type": check.type, "refused": None, **asdict(found), "by_kind": by_kind})
    return report


def _scores(check: Check, raw: Path | None, records: Sequence[Record], replies: Sequence[str]) -> list[float | None]:
    if isinstance(check, RegexCheck):
        pattern = re.compile(check.pattern)
        return [float(bool(pattern.search(reply))) for reply in replies]
    assert raw is not None  # a check of a file makes data/raw an input
    path = raw.parents[1] / check.path
    if isinstance(check, JsonSchemaCheck):
        valid = _validator(path)
        return [float(valid(reply)) for reply in replies]
    return _call(check, path, records, replies)


def _validator(path: Path) -> Any:
    """Whether an answer is JSON, in a Markdown fence or without, and valid under the schema in ``path``."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        schema = json.loads(path.read_bytes())
        kind = validator_for(schema)
        kind.check_schema(schema)
    except (ValueError, SchemaError) as error:
        raise InputProblem(f"{path} is no JSON schema: {str(error).partition(chr(10))[0]}") from None
    checker: Any = kind(schema, registry=Registry())  # an empty one: no reference is fetched from the network

    def valid(answer: str) -> bool:
        fenced = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", answer, re.DOTALL)
        try:
            value = json.loads(fenced[1] if fenced else answer)
            return bool(checker.is_valid(value))
        except (ValueError, RecursionError):
            return False
        except Unresolvable as error:
            raise InputProblem(f"{path} refers to {error}, which is not in the file") from None

    return valid


def _call(check: FunctionCheck, path: Path, records: Sequence[Record], replies: Sequence[str]) -> list[float | None]:
    given = {
        "source": path.read_text(encoding="utf-8"),
        "path": check.path,
        "pairs": list(zip(records, replies, strict=True)),
    }
    ended = sandbox.run(_CALL, json.dumps(given).encode(), BOUNDS, packages=True)
    if ended.code is None:
        raise InputProblem(f"{check.path} took longer than {BOUNDS.seconds:.0f} seconds")
    if ended.code != 0:
        raise InputProblem(f"{check.path} failed: {ended.errors.strip().rpartition(chr(10))[2]}")
    try:
        scores = json.loads(ended.output)
    except ValueError:
        raise InputProblem(f"{check.path} gave no scores") from None
    wrong = any(score is not None and not math.isfinite(score) for score in scores)
    if wrong or len(scores) != len(replies):
        raise InputProblem(f"{check.path}: score() must give one finite number, or None, for each answer")
    return scores
