"""Signature questions as instruction data: splits that nothing straddles, balanced kinds, bytes that repeat."""

from __future__ import annotations

import json
import sysconfig
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.curate.documents import Document
from components.curate.parameters import InstructionsParameters
from components.curate.supervised.instructions import build
from components.tasks import judge
from components.tasks.contract import SPLITS, choose_split, unit_hash
from components.tasks.signatures import instructions
from components.tasks.signatures.functions import Function, Parameter, standard_library
from components.tasks.signatures.instructions import _capped, select
from components.tasks.signatures.parameters import SignaturesParameters
from components.tasks.signatures.questions import YES_NO, Question
from core.errors import InputProblem

NO_WARNING = pytest.fail  # of made questions there is nothing to warn of
SHARES = InstructionsParameters().shares.model_dump()
SMALL = {"instruct": 900, "reward": 120, "preference": 120, "development": 80, "test": 120}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Every third file of the real library: as varied as all of it, and read in a third of the time."""
    root, part = Path(sysconfig.get_path("stdlib")), tmp_path_factory.mktemp("library")
    for path in sorted(root.glob("*.py"))[::3] + sorted(root.glob("[a-z]*/*.py"))[::3]:
        if "packages" not in path.parent.name and "test" not in path.parent.name:
            (part / path.relative_to(root)).parent.mkdir(exist_ok=True)
            (part / path.relative_to(root)).symlink_to(path)
    return standard_library(part)


@pytest.fixture(scope="module")
def built(library, tmp_path_factory):
    """Made from the library, which is read once for all tests."""
    folder = tmp_path_factory.mktemp("instructions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instructions, "standard_library", lambda: library)
        yield folder, build(InstructionsParameters(signatures={"questions": SMALL}), 1337, folder, folder, NO_WARNING)


def records(folder, split) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_split_has_its_size_and_its_answers_are_right(built):
    folder, _ = built
    for split, size in SMALL.items():
        found = records(folder, split)
        assert len(found) == size
        assert len({r["prompt"] for r in found}) == size
        for row in found:
            assert judge(row, row["completion"]).rank == (1 if row["style"] == "chatty" else 2)
            assert row["completion"].startswith(" ")
    styles = Counter(row["style"] for row in records(folder, "instruct"))
    assert set(styles) == {"terse", "chatty"} and 0.4 < styles["terse"] / 900 < 0.6
    assert {row["style"] for row in records(folder, "test")} == {None}


def test_no_parameter_list_is_in_two_splits_and_held_out_names_are_complete(built, library):
    folder, result = built
    keys: dict[str, set[str]] = defaultdict(set)  # a function defined twice has two lists
    by_key: dict[str, set[str]] = defaultdict(set)
    for function in library[0]:
        keys[function.qualified_name].add(function.list_key)
        by_key[function.list_key].add(function.qualified_name)
    prompts = {split: {row["prompt"].split("? ", 1)[1] for row in records(folder, split)} for split in SPLITS}
    for number, one in enumerate(SPLITS):
        for other in SPLITS[number + 1 :]:
            assert not prompts[one] & prompts[other]
    held_out = {origin for _, origin in result.held_out}
    for split in SPLITS[1:]:
        for row in records(folder, split):
            assert ("docstring", row["group"]) in result.held_out
            assert any(by_key[key] <= held_out for key in keys[row["group"]])


def test_pretraining_documents_are_the_instruct_questions_alone(built):
    folder, result = built
    documents = [Document(**fields).row() for fields in result.documents]
    assert len(documents) == 2 * SMALL["instruct"]
    assert all(row["kind"] == "question" for row in documents)
    assert len({row["id"] for row in documents}) == len(documents)
    asked = {row["prompt"] for row in records(folder, "instruct")}
    assert {row["text"].rsplit(" Answer: ")[0].rsplit(" The answer is ")[0] for row in documents} == asked


def test_a_rerun_writes_the_same_bytes_and_another_seed_others(built, tmp_path):
    folder, result = built
    for seed, same in ((1337, True), (7, False)):
        again = build(InstructionsParameters(signatures={"questions": SMALL}), seed, tmp_path, tmp_path, NO_WARNING)
        for split in SPLITS:
            assert ((tmp_path / f"{split}.jsonl").read_bytes() == (folder / f"{split}.jsonl").read_bytes()) is same
        assert (json.dumps(again.report) == json.dumps(result.report)) is same


def test_no_answer_dominates_its_kind(built):
    folder, _ = built
    by_kind: dict[str, Counter] = {}
    for row in records(folder, "instruct"):
        by_kind.setdefault(row["kind"], Counter())[row["reference"]] += 1
    for kind, answers in by_kind.items():
        share = answers.most_common(1)[0][1] / answers.total()
        assert share < (0.65 if kind in YES_NO else 0.45), (kind, answers.most_common(2))


any_function = st.builds(
    lambda number, names: Function(f"m.f{number}", f"f{number}", "m", tuple(Parameter(n, "positional") for n in names)),
    st.integers(0, 10_000),
    st.lists(st.sampled_from(["a", "A", "a_", "b", "c1", "c2", "dd"]), max_size=4, unique=True),
)


@settings(max_examples=50)
@given(st.lists(any_function, max_size=60), st.integers(0, 5), st.integers(1, 8), st.integers(1, 40))
def test_selection_of_any_library(functions, seed, common_list, wanted):
    parameters = SignaturesParameters(common_list=common_list, questions=dict.fromkeys(SPLITS, wanted))
    selection = select(functions, parameters, SHARES, seed)
    home: dict[str, str] = {}
    for split in SPLITS:
        chosen = selection.questions[split]
        assert len(chosen) <= wanted and len({q.prompt for q in chosen}) == len(chosen)
        for question in chosen:
            assert home.setdefault(question.function.list_key, split) == split
            assert (question.function.qualified_name in selection.held_out) or split == "instruct"
    backwards = select(list(reversed(functions)), parameters, SHARES, seed)
    assert backwards.held_out == selection.held_out


@given(st.lists(st.sampled_from("aaaabbc"), min_size=1, max_size=80), st.sampled_from([0.2, 0.34, 0.5]))
def test_capped_answers_keep_their_order_and_share(answers, share):
    function = Function("m.f", "f", "m", ())
    questions = [Question("first", str(n), answer, function) for n, answer in enumerate(answers)]
    kept = _capped(questions, share)
    assert [q for q in questions if q in kept] == kept
    counts = Counter(q.answer for q in kept)
    assert max(counts.values()) <= max(1, share * len(kept))
    assert set(counts) == set(answers)


@given(st.integers(), st.text(), st.text())
def test_hashes_are_in_the_unit_interval_and_repeat(seed, purpose, key):
    assert 0 <= unit_hash(seed, purpose, key) == unit_hash(seed, purpose, key) < 1


def test_shares_are_met():
    counts = Counter(choose_split(str(n), 1, {"a": 0.2, "b": 0.1}, rest="c") for n in range(5000))
    assert abs(counts["a"] / 5000 - 0.2) < 0.03 and abs(counts["b"] / 5000 - 0.1) < 0.02


def test_a_library_without_source_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(instructions, "standard_library", lambda: ([], []))
    with pytest.raises(InputProblem, match="no questions for instruct, reward, preference, development, test"):
        build(InstructionsParameters(), 1, tmp_path, tmp_path, NO_WARNING)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "files"}, "give at least one glob"),
        ({"source": "web"}, "signatures"),
        ({"shares": {"reward": 0.5, "test": 0.5}}, "less than 0.9"),
        ({"signatures": {"chatty_share": 1.5}}, "less than or equal to 1"),
        ({"signatures": {"chaty_share": 0.5}}, "Extra inputs"),
    ],
)
def test_wrong_parameters_are_explained(values, message):
    with pytest.raises(ValidationError, match=message):
        InstructionsParameters(**values)
