"""The loss counts the answers and nothing else, their end token among them."""

from types import SimpleNamespace

import pytest

from components.answer_spans import lost_characters
from components.contract import Context
from components.conversations import encode
from components.finetuning.models import load_tokenizer
from components.finetuning.records import conversation
from components.finetuning.templates import (
    encode_answers,
    install_template,
    template_problem,
    warn_of_control_tokens,
    with_room,
)
from core.errors import InputProblem
from tests.unit.finetuning.workspace import write_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    return folder


def trained_text(tokenizer, encoded, row=0):
    return tokenizer.decode([t for t in encoded.labels()[row] if t != -100])


@pytest.mark.parametrize("template", ["chat", "alpaca"])
def test_only_the_answer_and_its_end_token_are_trained(folder, template):
    tokenizer = load_tokenizer(folder)
    install_template(tokenizer, template)
    question, answer = "Which parameter is first? def f ( alpha )", " The answer is alpha."
    encoded = encode(tokenizer, [[{"role": "user", "content": question}, {"role": "assistant", "content": answer}]])
    assert trained_text(tokenizer, encoded) == answer + "<|endoftext|>"
    assert encoded.labels()[0][-1] == tokenizer.eos_token_id
    untrained = [t for t, label in zip(encoded.input_ids[0], encoded.labels()[0], strict=True) if label == -100]
    assert question in tokenizer.decode(untrained)


@pytest.mark.parametrize("template", ["chat", "alpaca"])
def test_every_answer_of_a_longer_conversation_is_trained(folder, template):
    tokenizer = load_tokenizer(folder)
    install_template(tokenizer, template)
    messages = [
        {"role": "system", "content": "be terse"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "four"},
    ]
    assert trained_text(tokenizer, encode(tokenizer, [messages])) == "two<|endoftext|>four<|endoftext|>"


@pytest.mark.parametrize("template", ["chat", "alpaca"])
def test_what_is_generated_from_is_what_was_trained_on(folder, template):
    tokenizer = load_tokenizer(folder)
    install_template(tokenizer, template)
    record = {"prompt": "Which parameter is last? def f ( beta )"}
    both = encode_answers(tokenizer, [record], [" beta"])
    assert both.prompts[0] + both.answers[0] == encode(tokenizer, [conversation(record, " beta")]).input_ids[0]
    assert tokenizer.decode(both.answers[0]) == " beta<|endoftext|>"


def test_the_batch_that_trl_trains_on_has_these_labels(folder):
    from datasets import Dataset
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    tokenizer = load_tokenizer(folder)
    install_template(tokenizer, "chat")
    encoded = encode(tokenizer, [conversation({"prompt": "a"}, "bb"), conversation({"prompt": "a longer one"}, "c")])
    rows = Dataset.from_dict({"input_ids": encoded.input_ids, "labels": encoded.labels()})
    batch = DataCollatorForLanguageModeling(tokenizer.pad_token_id)([rows[0], rows[1]])
    for row, answer in enumerate(("bb", "c")):
        kept = batch["labels"][row][batch["labels"][row] != -100]
        assert tokenizer.decode(kept) == answer + "<|endoftext|>"


def test_a_tokenizer_without_template_gets_one(folder):
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = None
    install_template(tokenizer, "chat")
    assert trained_text(tokenizer, encode(tokenizer, [conversation({"prompt": "q"}, "a")])) == "a<|endoftext|>"


MARKED = "{% for m in messages %}<|{{ m['role'] }}|>"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (None, None),
        (MARKED + "{{ m['content'] }}{{ eos_token }}{% endfor %}", None),
        (MARKED + "{{ m['content'] }}{% endfor %}", "no end token follows"),
        (MARKED + "{%- generation -%}{{ m['content'] }}{%- endgeneration -%}{% endfor %}", "do not enclose the answer"),
        (MARKED + "{% generation %}{% endgeneration %}{{ m['content'] }}{% endfor %}", "do not enclose the answer"),
        ("{% generation %}{{ raise_exception('no') }}{% endgeneration %}", "refuses it: no"),
        ("{% generation %}{{ messages[0].content }", "cannot show a question"),
    ],
)
def test_what_makes_training_impossible_is_found_on_the_tokenizer_alone(folder, template, problem):
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = template
    found = template_problem(tokenizer)
    assert found is None if problem is None else problem in found
    assert tokenizer.chat_template == template
    assert template_problem(tokenizer, "alpaca") is None


def test_rows_that_are_too_long_are_counted_once(folder, tmp_path):
    """A row with a pair is held against the limit with its answers; any other with its question alone."""
    tokenizer = load_tokenizer(folder)
    context = Context(SimpleNamespace(too_long="skip"), 0, {}, {}, tmp_path)
    rows = [{"prompt": "q " * n, "chosen": "a", "rejected": "b", "group": "g", "row": n} for n in (1, 90)]
    plain = [{"prompt": "q " * n, "row": n} for n in (1, 90)]
    files = {"preference": rows, "test": plain}
    found = with_room(context, "preference_tune", tokenizer, files, 80, later=lambda name, row: "chosen" in row)
    assert found == [rows, plain[:1]]
    [warning] = context.warnings
    assert "test.jsonl: 1 of 2 rows exceed" in warning
    context.parameters.too_long = "fail"
    with pytest.raises(InputProblem) as caught:
        with_room(context, "preference_tune", tokenizer, files, 80, later=lambda name, row: "chosen" in row)
    assert "preference.jsonl, row 90" in str(caught.value) and "test.jsonl, row 90" in str(caught.value)


def test_rows_that_spell_control_tokens_are_warned_of(folder, tmp_path):
    context = Context(None, 0, {}, {}, tmp_path)
    rows = [{"prompt": "a", "completion": "b", "row": 1}, {"prompt": "<|user|>a<|assistant|>", "row": 2}]
    warn_of_control_tokens(context, load_tokenizer(folder), {"instruct": rows, "development": rows[:1]})
    [warning] = context.warnings
    assert "instruct.jsonl: 1 of 2 rows" in warning and "row 2: '<|user|>'" in warning


def test_characters_that_the_tokenizer_has_no_tokens_for_are_counted(folder, tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())[:-40]
    backend = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<e>")
    context = Context(None, 0, {}, {}, tmp_path)
    rows = [{"prompt": "a b", "completion": "c", "row": 1}, {"prompt": "a", "completion": "\u0640 c", "row": 2}]
    lost = [sign for sign in map(chr, range(0x80, 0x3000)) if lost_characters(tokenizer, sign)]
    assert lost
    rows[1]["completion"] = f"{lost[0]} c"
    warn_of_control_tokens(context, tokenizer, {"instruct": rows, "development": rows[:1]})
    [warning] = context.warnings
    assert "instruct.jsonl: 1 of 2 rows (such as row 2) have characters" in warning and ascii(lost[0]) in warning
    warn_of_control_tokens(context, load_tokenizer(folder), {"instruct": rows})
    assert len(context.warnings) == 1
