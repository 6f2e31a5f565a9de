"""Modelfiles: what is read off a chat template, and what is refused."""

import re

import pytest

from components.finetuning.templates import ALPACA, PLAIN_CHAT
from components.tokenize.training import CHAT_TEMPLATE
from core.errors import InputProblem
from deploy.export import ollama

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for message in messages %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user')"
    " + '\n' + message['content'] + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
COUNTING = "{% for message in messages %}{{ loop.index ~ message['content'] }}{% endfor %}"
SPECIAL = {"eos_token": "<end>", "bos_token": "<|begin_of_text|>"}


def rendered(text: str, messages: list[dict[str, str]]) -> str:
    """What Ollama makes of the TEMPLATE in a Modelfile: the constructs that are written there, and no others."""
    template = re.search(r'TEMPLATE """(.*?)"""', text, re.DOTALL)[1]
    system = next((message["content"] for message in messages if message["role"] == "system"), "")
    choice = re.match(r"\{\{ if \.System \}\}(.*?)\{\{ else \}\}(.*?)\{\{ end \}\}", template, re.DOTALL)
    head = ""
    if choice:
        head, template = choice[1] if system else choice[2], template[choice.end() :]
    before, _, rest = template.partition("{{ range .Messages }}")
    body, _, prompt = rest.rpartition("{{ end }}{{ end }}")
    turns = dict(re.findall(r'if eq \.Role "(\w+)" \}\}(.*?)(?=\{\{ else if|\Z)', body, re.DOTALL))
    return head + before + "".join(turns[m["role"]].replace("{{ .Content }}", m["content"]) for m in messages) + prompt


def expected(template: str, messages: list[dict[str, str]]) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    return render_jinja_template([messages], chat_template=template, add_generation_prompt=True, **SPECIAL)[0][0]


@pytest.mark.parametrize(
    ("template", "control", "stops"),
    [
        (CHATML, ["<|im_start|>", "<|im_end|>"], ["<|im_end|>", "<|im_start|>"]),
        (LLAMA3, ["<|eot_id|>", "<|start_header_id|>", "<|other|>"], ["<|eot_id|>", "<|start_header_id|>"]),
        (CHAT_TEMPLATE, ["<|user|>", "<|assistant|>", "<|system|>"], ["<|user|>", "<|assistant|>"]),
        (ALPACA, ["<end>"], ["### Instruction:"]),
        (PLAIN_CHAT, ["<end>"], ["user:"]),
        (GEMMA, ["<start_of_turn>", "<end_of_turn>"], ["<end_of_turn>"]),
    ],
)  # fmt: skip
def test_a_modelfile_renders_a_conversation_as_the_models_own_template_does(template, control, stops):
    found = ollama.turns(template, SPECIAL)
    text = ollama.modelfile("m.gguf", found, control, "<end>", {"do_sample": True, "temperature": 0.7}, None)
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "2"},
    ]
    own = [{"role": "system", "content": found.system}] if found.system else []  # Ollama puts SYSTEM there
    assert rendered(text, [*own, *talk]) == expected(template, talk)
    if "system" in found.around:
        system = [{"role": "system", "content": "Be brief."}, *talk]
        assert rendered(text, system) == expected(template, system)
    assert 'PARAMETER stop "<end>"' in text
    for stop in stops:
        assert f'PARAMETER stop "{stop}"' in text
    assert "<|other|>" not in text
    assert "PARAMETER temperature 0.7\nPARAMETER top_p 1.0\nPARAMETER top_k 0\n" in text


def test_the_templates_own_system_message_is_the_modelfiles():
    text = ollama.modelfile("m.gguf", ollama.turns(CHATML, SPECIAL), [], "<end>", {}, None)
    assert 'SYSTEM """You are a helpful AI assistant"""' in text
    assert "PARAMETER temperature 0\n" in text  # answers were measured greedily


def test_a_token_that_the_engine_puts_before_every_prompt_is_left_to_it():
    found = ollama.turns(LLAMA3, SPECIAL)
    text = ollama.modelfile("m.gguf", found, [], None, {}, "<|begin_of_text|>")
    assert "<|begin_of_text|>" in ollama.modelfile("m.gguf", found, [], None, {}, None)
    assert "<|begin_of_text|>" not in text


@pytest.mark.parametrize("template", [COUNTING, "{{ messages[-1]['content'] }}", "{{ nothing.at.all }}", "{% for %}"])
def test_a_template_that_is_no_text_around_messages_is_refused(template):
    with pytest.raises(InputProblem, match="no TEMPLATE follows"):
        ollama.turns(template, SPECIAL)


def test_what_a_modelfile_cannot_hold_is_refused():
    quotes = CHATML.replace("'<|im_end|>'", '\'<|im_end|>"""\'')
    with pytest.raises(InputProblem, match="Modelfile cannot hold"):
        ollama.modelfile("m.gguf", ollama.turns(quotes, SPECIAL), [], None, {}, None)
