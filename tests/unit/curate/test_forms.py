"""Chat data as it comes: every form of rows, tool calls, labels and rankings; none of it dropped without a reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.curate.parameters import FORM_COLUMNS
from components.curate.supervised.forms import COLUMNS, convert, form_of
from components.finetuning.records import read_records

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
TOOL = {"name": "weather", "description": "of a city", "parameters": {"type": "object", "properties": {}}}
WHOLE_TOOL = {"type": "function", "function": TOOL}
CALLED = [
    {"role": "user", "content": "How warm is it in Oslo?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": '{"celsius": 4}'},
    {"role": "assistant", "content": "4 degrees."},
]


def turn(role: str, content: object, **more: object) -> dict:
    return {"role": role, "content": content, **more}


def test_the_parameters_know_every_column_of_the_forms():
    assert sorted(FORM_COLUMNS) == sorted(COLUMNS)


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "human", "value": "How warm is it in Oslo?"},
                           {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'},
                           {"from": "observation", "value": '{"celsius": 4}'}, {"from": "gpt", "value": "4 degrees."}],
         "tools": json.dumps([TOOL])},
        {"messages": [CALLED[0], turn("assistant", None, tool_calls=[CALL]), *CALLED[2:]], "tools": [WHOLE_TOOL]},
        {"messages": [CALLED[0], turn("assistant", "", tool_calls=[{"function": {"name": "weather",
                      "arguments": '{"city": "Oslo"}'}}], weight=1), turn("tool", {"celsius": 4}), CALLED[3]],
         "tools": [WHOLE_TOOL]},
        {"messages": [CALLED[0], turn("assistant", None, function_call={"name": "weather", "arguments":
                      '{"city": "Oslo"}'}), turn("function", '{"celsius": 4}'), CALLED[3]], "tools": json.dumps(TOOL)},
        {"messages": json.dumps(CALLED), "tools": json.dumps([WHOLE_TOOL])},  # cells of a CSV file
    ],
)  # fmt: skip
def test_tool_calls_of_every_form_are_one_record(row, tmp_path):
    record = convert(row)
    assert record["messages"] == CALLED and record["tools"] == [WHOLE_TOOL]
    assert (record["prompt"], record["completion"]) == ("How warm is it in Oslo?", "4 degrees.")
    (tmp_path / "x.jsonl").write_text(json.dumps(record))
    [read] = read_records(tmp_path, "x", needs="answer")
    assert read["messages"] == CALLED and read["tools"] == [WHOLE_TOOL]


def test_a_conversation_may_end_with_a_call_and_calls_keep_what_names_them(tmp_path):
    call = {"id": "c1", **CALL}
    messages = [CALLED[0], turn("assistant", "Let me see.", tool_calls=[call])]
    record = convert({"messages": messages})
    assert record["messages"] == messages and record["completion"] == "Let me see."
    record = convert({"messages": CALLED[:2]})
    assert record["completion"] == ""
    (tmp_path / "x.jsonl").write_text(json.dumps(record))
    [read] = read_records(tmp_path, "x", needs="answer")
    assert read["messages"] == CALLED[:2]
    answered = turn("tool", "4", name="weather", tool_call_id="c1")
    assert convert({"messages": [*messages, answered, CALLED[3]]})["messages"][2] == answered


def test_turns_of_one_role_that_follow_each_other_become_one():
    messages = [turn("user", "a"), turn("user", "b"), turn("assistant", "c"), turn("assistant", "", tool_calls=[CALL]),
                turn("tool", "1"), turn("tool", "2"), turn("assistant", "d"), turn("assistant", "e")]  # fmt: skip
    assert convert({"messages": messages})["messages"] == [
        turn("user", "a\n\nb"), turn("assistant", "c", tool_calls=[CALL]), turn("tool", "1"), turn("tool", "2"),
        turn("assistant", "d\n\ne"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"instruction": "do", "input": "", "output": "x", "system": "s", "history": [["a", "b"]]},
         [turn("system", "s"), turn("user", "a"), turn("assistant", "b"), turn("user", "do"), turn("assistant", "x")]),
        ({"instruction": "do", "output": "x", "history": "", "system": ""}, None),
        ({"prompt": [turn("user", "do")], "completion": [turn("assistant", "x")]}, None),
        ({"prompt": [turn("system", "s"), turn("user", "do")], "completion": turn("assistant", "x")},
         [turn("system", "s"), turn("user", "do"), turn("assistant", "x")]),
        ({"prompt": "do", "completion": "x", "system": "s"},
         [turn("system", "s"), turn("user", "do"), turn("assistant", "x")]),
        ({"messages": [turn("system", ""), turn("user", "do"), turn("assistant", "x")]},
         [turn("user", "do"), turn("assistant", "x")]),
        ({"conversations": [{"from": "human", "value": "do"}, {"from": "gpt", "value": "x"}], "system": "s"},
         [turn("system", "s"), turn("user", "do"), turn("assistant", "x")]),
    ],
)  # fmt: skip
def test_system_and_history_come_into_the_conversation(row, messages):
    record = convert(row)
    assert (record["prompt"], record["completion"], record.get("messages")) == ("do", "x", messages)


@pytest.mark.parametrize(
    ("row", "prompt", "before"),
    [
        ({"conversations": [{"from": "human", "value": "a"}], "chosen": {"from": "gpt", "value": "good"},
          "rejected": {"from": "gpt", "value": "bad"}}, "a", None),
        ({"instruction": "do", "input": "it", "output": "x", "chosen": "good", "rejected": "bad", "system": "s"},
         "do\n\nit", [turn("system", "s"), turn("user", "do\n\nit")]),
        ({"prompt": "a", "completion": "", "chosen": "good", "rejected": "bad"}, "a", None),
        ({"prompt": "a", "chosen": '[{"role": "assistant", "content": "good"}]',
          "rejected": '[{"role": "assistant", "content": "bad"}]'}, "a", None),
    ],
)  # fmt: skip
def test_pairs_of_every_form(row, prompt, before):
    record = convert(row)
    assert (record["prompt"], record["chosen"], record["rejected"]) == (prompt, "good", "bad")
    assert record.get("messages") == before


@pytest.mark.parametrize(
    ("value", "label"), [(True, True), (False, False), (1, True), ("False", False), ("true", True)]
)
@pytest.mark.parametrize("column", ["label", "kto_tag"])
@pytest.mark.parametrize(
    "row",
    [{"prompt": "p", "completion": "c"}, {"messages": [turn("user", "p"), turn("assistant", "c")]},
     {"instruction": "p", "output": "c"}],
)  # fmt: skip
def test_labels_of_single_answers(row, column, value, label, tmp_path):
    record = convert({**row, column: value})
    assert (record["kind"], record["label"], record["prompt"], record["completion"]) == ("kto", label, "p", "c")
    (tmp_path / "x.jsonl").write_text(json.dumps(record))
    assert read_records(tmp_path, "x", needs="prompt")[0]["label"] is label


def test_a_label_of_another_kind_is_no_verdict():
    assert "label" not in convert({"prompt": "p", "completion": "c", "label": "geography"})


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "ranked": ["a", "b", "c"]},
        {"prompt": "p", "responses": ["c", "a", "b"], "scores": [0.5, 9, 3]},
        {"prompt": "p", "completions": '["b", "a", "c"]', "scores": "[2, 3, 1]"},
        {"prompt": "p", "answers": ["b", "a", "c", "d"], "ranks": [2, 1, 3, 3]},  # d is not worse than c
        {"prompt": "p", "answers": [{"answer": "b", "rank": 2.0}, {"answer": "a", "rank": 1.0},
                                    {"answer": "c", "rank": 7.0}]},
        {"instruction": "p", "completions": [{"model": "x", "response": "c", "overall_score": 1.0, "annotations": {}},
                                             {"model": "y", "response": "a", "overall_score": "8.5"},
                                             {"model": "z", "response": "b", "overall_score": 4}]},
        {"messages": [turn("user", "p")], "responses": [[turn("assistant", "a")], [turn("assistant", "b")],
                                                        [turn("assistant", "c")]], "scores": [3, 2, 1]},
    ],
)  # fmt: skip
def test_ranked_answers_are_kept_best_first(row, tmp_path):
    record = convert(row)
    assert form_of(row).name == record["kind"] == "ranked"
    assert (record["prompt"], record["ranked"], record["completion"]) == ("p", ["a", "b", "c"], "a")
    assert (record["chosen"], record["rejected"]) == ("a", "c")
    (tmp_path / "x.jsonl").write_text(json.dumps(record))
    assert read_records(tmp_path, "x", needs="prompt")[0]["ranked"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "p", "responses": ["a", "b"], "scores": [1, 1]}, "none of its answers is better"),
        ({"prompt": "p", "responses": ["a", "b"], "scores": [1]}, "2 answers in 'responses' and 1 scores"),
        ({"prompt": "p", "responses": ["a", "b"], "scores": [1, None]}, "'scores' must be numbers"),
        ({"prompt": "p", "responses": ["a", ""], "scores": [1, 2]}, "answer 2 of responses' is empty"),
        ({"prompt": "p", "responses": ["a", "b"]}, "has prompt, responses, but one of these is expected"),
        ({"instruction": "i", "output": "o", "history": [["a"]]}, "'history' must be a list of"),
        ({"messages": CALLED, "tools": "[3]"}, "tool 1 must be an object with name"),
        ({"messages": CALLED, "tools": "none"}, "'tools' must be a list"),
        ({"messages": [*CALLED[:2], CALLED[3]]}, "assistant follows assistant .with a tool call."),
        ({"messages": [CALLED[0], *CALLED[2:]]}, "here tool follows user"),
        ({"messages": [CALLED[3], *CALLED[:2]]}, "here assistant follows nothing"),
        ({"messages": [turn("system", "s"), *CALLED], "system": "t"}, "another system message"),
        ({"messages": [turn("user", "a"), turn("assistant", "b", reasoning_content="c")]}, "write it as <think>"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "weather()"}]},
         "message 2: a tool call must be an object"),
        ({"messages": [turn("user", "a"), turn("assistant", None, tool_calls=[{"name": "f", "arguments": "x"}])]},
         "the arguments of the tool call 'f' must be an object"),
        ({"prompt": "p", "chosen": [turn("assistant", "", tool_calls=[CALL])], "rejected": [turn("assistant", "b")]},
         "a tool call cannot be compared"),
        ({"prompt": "p", "chosen": "a", "rejected": ""}, "'rejected' is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_why(row, reason):
    with pytest.raises(ValueError, match=reason):
        convert(row)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
roles = st.sampled_from(["system", "user", "assistant", "tool", "gpt", "human", "function_call", "observation", "x"])
calls = st.lists(json_values | st.just(CALL), max_size=2)
messages = st.lists(
    st.fixed_dictionaries({"role": roles, "content": json_values}, optional={"tool_calls": calls})
    | st.fixed_dictionaries({"from": roles, "value": json_values | st.just(json.dumps(CALL))}),
    max_size=5,
)
usable = st.lists(st.sampled_from(CALLED), min_size=1, max_size=5)
cells = json_values | messages | usable | usable.map(json.dumps) | st.text(min_size=1, max_size=5)


def complete(record: dict) -> bool:
    """Something is asked and answered."""
    called = record.get("messages") and record["messages"][-1].get("tool_calls")
    return bool(record["prompt"].strip() and (record["completion"].strip() or called))


@given(st.dictionaries(st.sampled_from(FORM_COLUMNS), cells, max_size=6))
def test_any_row_becomes_a_whole_record_that_is_read_again_or_a_reason(tmp_path_factory, row):
    try:
        record = convert(row)
    except ValueError as error:
        assert str(error)
        return
    assert complete(record)
    folder = tmp_path_factory.getbasetemp()
    (folder / "any.jsonl").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    [read] = read_records(folder, "any", needs="answer")
    assert record.items() <= read.items()


@given(st.dictionaries(st.sampled_from(FORM_COLUMNS), cells, max_size=6), st.text(min_size=1), st.text(min_size=1))
def test_chosen_and_rejected_are_both_kept_or_the_row_is_refused(row, chosen, rejected):
    try:
        record = convert({**row, "chosen": chosen, "rejected": rejected})
    except ValueError as error:
        assert str(error)
    else:
        assert (record["chosen"], record["rejected"]) == (chosen, rejected)
