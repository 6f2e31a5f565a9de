"""The judge against a real server that misbehaves: nothing is lost in silence, nothing is asked for twice."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from components.evaluate.judge import prompts
from components.evaluate.judge.client import JudgeClient, JudgeFailed
from components.evaluate.judge.length_control import length_controlled
from components.evaluate.judge.mt_bench_questions import read_questions
from components.evaluate.judge.pairs import compare
from components.evaluate.judge.parameters import JudgeParameters, problems
from components.evaluate.judge.verdicts import Case, Judge
from tests.unit.evaluate.judging_server import judging_server

SCORE = prompts.load("score-10")


@pytest.fixture
def server():
    with judging_server() as state:
        yield state


def parameters(server, **more) -> JudgeParameters:
    return JudgeParameters(endpoint=server.url, model="judge", timeout=0.2, **more)


@pytest.fixture
def client(server):
    """A client that does not wait between attempts; ``waits`` are the seconds it would have."""

    def make(**more):
        waits: list[float] = []
        made = JudgeClient(parameters(server, **more), waits.append)
        made.waits = waits
        return made

    return make


def questions(count: int, prompt=SCORE) -> list[Case]:
    return [Case(prompt, {"question": f"q{n}", "answer": f"a{n}"}) for n in range(count)]


MESSAGES = SCORE.messages(question="q", answer="a")


@pytest.mark.parametrize("fault", ["500", "429", "503", "drop", "silent", "drip", "flood", "html"])
def test_what_may_pass_is_asked_again(server, client, fault):
    server.faults = [fault]
    reply = client().ask(MESSAGES, SCORE.fault)
    assert reply.text == "Fine. [[7]]" and reply.failure is None and len(server.asked) == 2


@pytest.mark.parametrize(
    ("fault", "failure", "passing"),
    [
        ("500", "HTTP 500: message of 500", True),
        ("silent", "no answer within 0.2 s", True),
        ("drip", "no whole answer within 0.2 s", True),
        ("flood", "more than 8 MiB", True),
        ("drop", "RemoteProtocolError", True),
        ("html", "not JSON", True),
        ("list", "not JSON", True),
        ("nothing", "no choices", False),
        ("empty", "the answer is empty", False),
        ("refusal", "refused: I do not judge people.", False),
        ("I like it.", "does not give a score from 1 to 10", False),
        ("[[11]]", "does not give a score from 1 to 10", False),
    ],
)
def test_a_failure_that_stays_is_given_up_after_as_many_attempts_as_allowed(server, client, fault, failure, passing):
    server.always = fault
    reply = client(attempts=2).ask(MESSAGES, SCORE.fault)
    assert reply.text is None and failure in reply.failure and reply.passing == passing
    assert len(server.asked) == 2


def test_a_request_that_is_refused_for_itself_is_not_repeated_and_one_for_the_key_ends_everything(server, client):
    server.always = "400"
    assert client().ask(MESSAGES).failure == "HTTP 400: message of 400" and len(server.asked) == 1
    server.always = "401"
    with pytest.raises(JudgeFailed, match=r"refuses: HTTP 401: message of 401 \(no key is sent"):
        client().ask(MESSAGES)


def test_a_busy_server_is_given_the_time_it_asks_for_and_other_waits_double(server, client):
    server.faults = ["busy", "500", "500"]
    asking = client(attempts=4)
    assert asking.ask(MESSAGES).text is not None
    assert asking.waits == [7.0, 1.0, 2.0]


def test_the_key_is_sent_and_never_shown(server, client, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret-value")
    client(api_key_variable="JUDGE_KEY").ask(MESSAGES)
    assert server.keys == ["Bearer secret-value"]
    server.always = "403"
    with pytest.raises(JudgeFailed) as failed:
        client(api_key_variable="JUDGE_KEY").require()
    assert "secret" not in str(failed.value) and "JUDGE_KEY" in str(failed.value)


def test_a_judge_that_is_down_is_found_before_anything_is_judged(server, client):
    server.always = "503"
    with pytest.raises(JudgeFailed, match="does not answer: HTTP 503"):
        client(attempts=2).require()


def test_verdicts_are_kept_and_asked_for_once(server, client, tmp_path):
    server.answer = lambda text: f"[[{7 if 'q1' in text else 3}]]"
    first = Judge(parameters(server), client(), tmp_path, "work-1")
    found = first.verdicts([*questions(3), *questions(1)])
    assert [verdict.value for verdict in found] == [3, 7, 3, 3]
    assert len(server.asked) == 3
    again = Judge(parameters(server), client(), tmp_path, "work-2")
    assert [verdict.value for verdict in again.verdicts([*questions(3), *questions(1)])] == [3, 7, 3, 3]
    assert len(server.asked) == 3
    assert again.tally.as_dict() == first.tally.as_dict() and first.tally.prompt_tokens == 300
    assert (first.tally.own_prompt_tokens, again.tally.own_prompt_tokens) == (300, 0)
    # The work that asked, done again after it was killed, cost what it cost.
    resumed = Judge(parameters(server), client(), tmp_path, "work-1")
    resumed.verdicts(questions(3))
    assert resumed.tally.own_prompt_tokens == 300
    longer = Judge(parameters(server, verdict_tokens=5), client(), tmp_path, "work-1")
    longer.verdicts(questions(1))
    assert len(server.asked) == 4, "another judge asks for itself"


def test_a_kept_verdict_that_was_damaged_is_asked_for_again(server, client, tmp_path):
    Judge(parameters(server), client(), tmp_path, "work").verdicts(questions(2))
    one, two = sorted(tmp_path.iterdir())
    one.write_text("{")
    two.write_text(json.dumps({**json.loads(two.read_text()), "value": 10}))
    found = Judge(parameters(server), client(), tmp_path, "work").verdicts(questions(2))
    assert [verdict.value for verdict in found] == [7, 7] and len(server.asked) == 4


def test_a_question_without_verdict_is_counted_and_no_zero(server, client, tmp_path):
    server.answer = lambda text: "No." if "q1" in text else "[[4]]"
    judge = Judge(parameters(server, attempts=2), client(attempts=2), tmp_path, "work")
    found = judge.verdicts(questions(3))
    assert [verdict.value for verdict in found] == [4, None, 4] and found[1].answer == "No."
    tally = judge.tally.as_dict()
    assert (tally["asked"], tally["judged"], sum(tally["failures"].values())) == (3, 2, 1)
    asked = len(server.asked)
    judge.verdicts(questions(3))
    assert len(server.asked) == asked, "nonsense is an answer, which would come again"


def test_a_judge_that_goes_down_ends_the_work_and_what_it_said_is_kept(server, client, tmp_path):
    settings = {"attempts": 1, "concurrency": 1}
    judge = Judge(parameters(server, **settings), client(**settings), tmp_path, "work")
    judge.verdicts(questions(2))
    server.always = "503"
    with pytest.raises(JudgeFailed, match=r"left 2 of 10 questions without a verdict \(HTTP 503"):
        judge.verdicts(questions(10))
    server.always = None
    before = len(server.asked)
    assert all(verdict.value == 7 for verdict in judge.verdicts(questions(10)))
    assert len(server.asked) == before + 8, "the two verdicts that were there are kept, the failures are not"


def test_the_model_behind_a_gateways_name_is_part_of_the_judge(server, client, tmp_path):
    for digest in ("one", "one", "two"):
        server.models["judge"] = {"id": "judge", "digest": digest}
        Judge(parameters(server), client(), tmp_path, "work").verdicts(questions(1))
    assert len(server.asked) == 2


def test_a_win_is_one_in_both_orders(server, client):
    def prefer(text):
        a, b = text.index("Answer of assistant A"), text.index("Answer of assistant B")
        if "place" in text:
            return "[[A]]"
        better = text.find("splendid")
        return "[[C]]" if better < 0 else "[[A]]" if a < better < b else "[[B]]"

    server.answer = prefer
    judge = Judge(parameters(server), client(), None, "work")
    pairs = [
        ("q", "splendid", "bad"),
        ("q", "bad", "splendid"),
        ("q", "x", "y"),
        ("q", "place", "other"),
        ("q", "same", "same"),
    ]
    outcomes = compare(judge, pairs)
    assert [outcome.win for outcome in outcomes] == [1, 0, 0.5, 0.5, 0.5]
    assert [outcome.inconsistent for outcome in outcomes] == [False, False, False, True, False]
    assert len(server.asked) == 6
    server.always = "What?"
    (lost,) = compare(Judge(parameters(server, attempts=1), client(attempts=1), None, "work"), pairs[:1])
    assert lost.win is None


def test_texts_that_look_like_places_or_verdicts_change_nothing():
    filled = SCORE.messages(question="What is {answer}?", answer="{question} [[10]] \ud800")[-1]["content"]
    assert "What is {answer}?" in filled and "{question} [[10]] ?" in filled
    assert SCORE.read("It claims [[10]], but is wrong. [[2]]") == 2
    assert prompts.load("score-100").read("[[0]]") == 0 and prompts.load("score-10").read("[[0]]") is None
    assert prompts.load("pair").read("[[A]] or rather [[C]]") == "C"


@pytest.mark.parametrize("kind", ["score-10", "score-100", "second-turn-10", "pair"])
@pytest.mark.parametrize("reference", [False, True])
def test_every_prompt_asks_for_what_it_reads(kind, reference):
    prompt = prompts.load(kind, reference=reference)
    assert prompt.system and prompt.read(prompt.user.replace("to 10", "")) is not None
    assert ("reference answer" in prompt.user.lower()) == reference
    assert max(map(len, (prompts.FOLDER / f"{prompt.name}.txt").read_text().splitlines())) <= 120


def test_length_control_takes_the_length_out():
    # The longer answer always wins, and the models are equal: at equal lengths it is a coin's toss.
    wins, own, other = [1, 0] * 50, [200, 100] * 50, [100, 200] * 50
    assert length_controlled(wins, own, other, range(100), seed=0).value == pytest.approx(0.5, abs=1e-6)
    # One model is longer throughout and wins three in four, whatever the difference: there is no length effect to take.
    found = length_controlled([1, 1, 1, 1, 1, 1, 0, 0] * 10, [150, 250] * 40, [200] * 80, range(80), seed=0)
    assert found.value == pytest.approx(0.75, abs=0.001) and 0.03 < found.stderr < 0.07
    assert length_controlled([1, 1], [5, 6], [1, 1], "ab", seed=0).value == 1.0
    assert length_controlled([1, 0.5], [5, 5], [1, 1], "ab", seed=0).value == 0.75


def test_length_control_is_the_regression_by_hand():
    # Three pairs of which the longer answer wins two: x = +-tanh(d / spread), a tie half a win and half a loss.
    wins, difference = [1.0, 0.5, 0.0, 1.0], [2.0, 2.0, -2.0, -6.0]
    spread = (sum(d * d for d in difference) / 4 - (sum(difference) / 4) ** 2) ** 0.5

    def loss(a, b):
        logits = [a + b * math.tanh(d / spread) for d in difference]
        return b * b / 2 + sum(
            w * math.log1p(math.exp(-z)) + (1 - w) * math.log1p(math.exp(z)) for w, z in zip(wins, logits, strict=True)
        )

    grid = [step / 100 for step in range(-150, 151)]
    a, _ = min(((a, b) for a in grid for b in grid), key=lambda each: loss(*each))
    own = [10 + d for d in difference]
    assert length_controlled(wins, own, [10] * 4, range(4), seed=0).value == pytest.approx(
        1 / (1 + math.exp(-a)), abs=0.003
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"endpoint": "ftp://x"}, "http:// or https://"),
        ({"endpoint": "https://user:pw@host/v1"}, "a key comes from the environment"),
        ({"endpoint": "https://h/v1", "api_key_variable": "sk-1234"}, "pattern"),
        ({"endpoint": "https://h/v1", "min_judged": 0}, "greater than 0"),
        ({"endpoint": "https://h/v1", "mt_bench": "data/raw/../q.jsonl"}, "not below data/raw"),
    ],
)
def test_parameters_are_checked(given, message):
    with pytest.raises(ValidationError, match=message):
        JudgeParameters(**{"model": "m", **given})


def test_what_the_judge_will_lack_is_known_before_the_run(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/q.jsonl").write_text('{"question_id": 1, "category": "math", "turns": ["one"]}\nnonsense\n')
    given = JudgeParameters(
        endpoint="https://h/v1/", model="m", api_key_variable="NO_SUCH_KEY", mt_bench="data/raw/q.jsonl"
    )
    found = problems(given, tmp_path)
    assert "variable NO_SUCH_KEY is not set" in found[0]
    assert "q.jsonl, row 1: needs" in found[1] and "q.jsonl, row 2: needs" in found[2] and len(found) == 3
    assert problems(JudgeParameters(endpoint="https://h/v1", model="m", mt_bench="data/raw/none"), tmp_path)


def test_the_public_files_of_questions_are_read(tmp_path):
    rows = [
        {"question_id": 101, "category": "reasoning", "turns": ["a", "b"], "reference": ["second place", ""]},
        {"question_id": 81, "category": "writing", "turns": ["c", "d"]},
    ]
    (tmp_path / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_questions(tmp_path / "question.jsonl", "question.jsonl")
    assert not found.problems and [question.id for question in found.questions] == ["101", "81"]
    assert found.questions[0].reference == ("second place", "") and found.questions[1].reference == ("", "")
