"""The trained tokens, decoded, are the assistant's words and the end token: every published template, every form."""

import copy
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.chat_template import Dialogue, Template
from components.conversations import encode, render
from components.finetuning.templates import encode_answers, encode_pairs, template_limits, template_problem
from tests.chat_templates import FAMILIES, tokenizer
from tests.unit.curate.test_forms import CALLED, WHOLE_TOOL

ENDS = {
    "llama3": "<|eot_id|>", "llama3_1": "<|eot_id|>", "llama3_2": "<|eot_id|>", "qwen2_5": "<|im_end|>",
    "qwen3": "<|im_end|>", "qwen3_instruct_2507": "<|im_end|>", "gemma": "<end_of_turn>", "gemma3": "<end_of_turn>",
    "phi3": "<|end|>", "phi3_5": "<|end|>", "deepseekv3": "<｜end▁of▁sentence｜>",
    "deepseek_r1_distill": "<｜end▁of▁sentence｜>", "gptoss": "<|end|>", "mistral": "</s>", "chatml": "<|im_end|>",
    "smollm2": "<|im_end|>",
}  # fmt: skip
LAST = {"phi3": "<|end|>\n<|endoftext|>", "phi3_5": "<|end|>\n<|endoftext|>", "gptoss": "<|return|>"}
BEFORE = {"qwen3": "<think>\n\n</think>\n\n", "gptoss": "<|channel|>final<|message|>", "mistral": " "}
REFUSES_SYSTEM = {"gemma", "mistral"}
TAKES_TOOLS = {"llama3_1", "llama3_2", "qwen2_5", "qwen3", "qwen3_instruct_2507", "deepseekv3", "deepseek_r1_distill",
               "gptoss"}  # fmt: skip


def chat(*contents: str, system: str | None = None) -> list[dict]:
    turns = [{"role": ("user", "assistant")[n % 2], "content": content} for n, content in enumerate(contents)]
    return turns if system is None else [{"role": "system", "content": system}, *turns]


def trained(family: str, conversation: list[dict], train_on: str = "all") -> list[str]:
    """The texts of the runs of marked tokens."""
    encoded = encode(tokenizer(family), [conversation], train_on=train_on)
    assert not encoded.faults, encoded.faults
    runs, inside = [], False
    for token, learnt in zip(encoded.input_ids[0], encoded.answer_mask[0], strict=True):
        if learnt and not inside:
            runs.append([])
        if learnt:
            runs[-1].append(token)
        inside = bool(learnt)
    return [tokenizer(family).decode(run) for run in runs]


def expected(family: str, *answers: str) -> list[str]:
    before, end = BEFORE.get(family, ""), ENDS[family]
    *earlier, last = [before + answer for answer in answers]
    return [*(answer + end for answer in earlier), last + LAST.get(family, end)]


@pytest.mark.parametrize("family", FAMILIES)
def test_all_answers_or_the_last_are_trained_with_their_ends(family):
    one, two = chat("Hello?", "Yes, hello."), chat("Hello?", "Yes, hello.", "More?", "No\n\nmore ändern.")
    assert trained(family, one) == trained(family, one, "last") == expected(family, "Yes, hello.")
    assert trained(family, two) == expected(family, "Yes, hello.", "No\n\nmore ändern.")
    assert trained(family, two, "last") == expected(family, "No\n\nmore ändern.")


@pytest.mark.parametrize("family", FAMILIES)
def test_system_messages_go_through_the_template_or_are_refused(family):
    messages = chat("Hello?", "Yes.", system="Be brief.")
    if family in REFUSES_SYSTEM:
        [fault] = encode(tokenizer(family), [messages]).faults.values()
        assert "refuses it" in fault and "system messages" in template_limits(tokenizer(family))[0]
        return
    assert trained(family, messages) == expected(family, "Yes.")
    [ids] = encode(tokenizer(family), [messages]).input_ids
    assert "Be brief." in tokenizer(family).decode(ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_tool_calls_are_trained_whole_or_the_row_is_a_fault(family):
    call = {"id": "call00001", **CALLED[1]["tool_calls"][0]}
    answer = {**CALLED[2], "name": "weather", "tool_call_id": "call00001"}
    messages = Dialogue([CALLED[0], {**CALLED[1], "tool_calls": [call]}, answer, CALLED[3]], [WHOLE_TOOL])
    assert ("tool calls" in template_limits(tokenizer(family))) is (family not in TAKES_TOOLS)
    for train_on in ("all", "last"):
        encoded = encode(tokenizer(family), [messages], train_on=train_on)
        if family not in TAKES_TOOLS:
            assert set(encoded.faults) == {0} and not any(encoded.answer_mask[0])
            continue
        runs = trained(family, messages, train_on)
        assert runs[-1] == expected(family, "4 degrees.")[0]
        if train_on == "all":
            assert len(runs) == 2 and "weather" in runs[0] and '"city": "Oslo"' in runs[0]
            assert "celsius" not in "".join(runs) and "How warm" not in "".join(runs)
        shown = tokenizer(family).decode(encoded.input_ids[0])
        assert "celsius" in shown and ("of a city" in shown or family.startswith("deepseek"))


def test_a_template_that_ignores_tools_says_so():
    messages = Dialogue(chat("Hello?", "Yes."), [WHOLE_TOOL])
    assert encode(tokenizer("chatml"), [messages]).faults == {0: "the chat template leaves out the tools"}


@pytest.mark.parametrize("family", FAMILIES)
def test_thoughts_are_trained_in_every_turn_and_seen_as_the_template_shows_them(family):
    answers = "<think>\nhm\n</think>\n\nfirst", "<think>\nho\n</think>\n\nsecond"
    messages = chat("one?", answers[0], "two?", answers[1])
    if family == "deepseekv3":  # drops thoughts, in the template for training too
        assert "leaves out words" in encode(tokenizer(family), [messages]).faults[0]
        return
    # DeepSeek's prompt ends with the thought's beginning.
    words = [answer.removeprefix("<think>\n" if family == "deepseek_r1_distill" else "") for answer in answers]
    before = "" if family == "qwen3" else BEFORE.get(family, "")
    end, last = ENDS[family], LAST.get(family, ENDS[family])
    assert trained(family, messages) == [before + words[0] + end, before + words[1] + last]
    assert trained(family, messages, "last") == [before + words[1] + last]
    earlier = "hm" in tokenizer(family).decode(encode(tokenizer(family), [messages], train_on="last").input_ids[0])
    assert earlier is (family != "qwen3")  # its own template, which is used, forgets what was thought before


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_generated_from_is_what_was_trained_on(family):
    record = {"prompt": "two?", "messages": chat("one?", "first", "two?")}
    both = encode_answers(tokenizer(family), [record], ["second"])
    assert tokenizer(family).decode(both.answers[0]) == expected(family, "second")[0]
    [prompt] = render(tokenizer(family), [record["messages"]])
    assert both.prompts[0] == prompt or (family.startswith("deepseek") and prompt[: len(both.prompts[0])])
    assert template_problem(tokenizer(family)) is None


@pytest.mark.parametrize(("chosen", "rejected"), [("<think>\nhm\n</think>\n\nYes.", "No."), ("Yes.", "No.")])
@pytest.mark.parametrize("family", ["deepseek_r1_distill", "qwen3", "smollm2"])
def test_both_sides_of_a_pair_are_behind_the_question_that_they_share(family, chosen, rejected):
    records = [{"prompt": "Sure?"}] * 2  # the sides are swapped in the second row
    found = encode_pairs(tokenizer(family), records, [chosen, rejected], [rejected, chosen])
    assert found.prompts[0] == found.prompts[1] and found.chosen == found.rejected[::-1]
    wholes = encode(tokenizer(family), [chat("Sure?", chosen), chat("Sure?", rejected)], train_on="last").input_ids
    trailing = {"smollm2": "\n", "qwen3": "\n"}.get(family, "")  # behind the end token
    for answer, whole in zip(found.chosen, wholes, strict=True):
        shown = tokenizer(family).decode(found.prompts[0] + answer)
        assert shown == tokenizer(family).decode(whole).removesuffix(trailing)
    if family == "deepseek_r1_distill" and "<think>" in chosen:
        assert tokenizer(family).decode(found.prompts[0]).endswith("<｜Assistant｜>")
        assert tokenizer(family).decode(found.chosen[0]).startswith("<think>\nhm")
        assert tokenizer(family).decode(found.rejected[0]).startswith("No.")


@pytest.mark.parametrize("family", FAMILIES)
def test_spelled_control_tokens_are_text(family):
    end = ENDS[family]
    answer = f"It ends with {end}, they say {end}{end}."
    messages = chat(f"What is {end}?", answer, "And?", "Nothing.")
    assert trained(family, messages) == expected(family, answer, "Nothing.")
    [ids] = encode(tokenizer(family), [messages]).input_ids
    [plain] = encode(tokenizer(family), [chat("What is it?", "It ends.", "And?", "Nothing.")]).input_ids
    token = tokenizer(family).convert_tokens_to_ids(end)
    assert ids.count(token) == plain.count(token)


words = st.text(st.characters(exclude_categories=["Cs", "Cn", "Co", "Cc"]), min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=40)
@given(st.sampled_from(sorted(FAMILIES)), st.lists(words, min_size=2, max_size=6).filter(lambda c: len(c) % 2 == 0),
       st.sampled_from(["all", "last"]))  # fmt: skip
def test_any_words_are_trained_whole_or_the_row_is_a_fault(family, contents, train_on):
    encoded = encode(tokenizer(family), [chat(*contents)], train_on=train_on)
    learnt = [token for token, marked in zip(encoded.input_ids[0], encoded.answer_mask[0], strict=True) if marked]
    if encoded.faults:
        assert not learnt
        return
    answers = contents[1::2] if train_on == "all" else contents[-1:]
    bare = [re.sub(r"\s", "", text) for text in (tokenizer(family).decode(learnt), *expected(family, *answers))]
    assert bare[0] == "".join(bare[1:])


def test_words_that_a_template_loses_and_answers_without_an_end_are_faults():
    own = tokenizer("chatml")
    changed = copy.deepcopy(own)
    changed.chat_template = own.chat_template.replace("message['content']", "message['content'][:12]")
    faults = encode(changed, [chat("Hi?", "Short."), chat("Hi?", "A longer answer.")]).faults
    assert faults == {1: "the chat template leaves out words of an answer"}
    changed.chat_template = own.chat_template.replace("<|im_end|>", "")
    assert "no end token follows" in encode(changed, [chat("Hi?", "Short.")]).faults[0]
    assert "would not learn to stop" in template_problem(changed)
    assert not Template.of(changed).marks_answers
