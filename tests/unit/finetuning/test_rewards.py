"""Rewards of answers."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.finetuning.models import load_reward_model, load_tokenizer, save
from components.finetuning.rewards import Reading, Rewarder, load_rewarder
from components.finetuning.templates import encode_answers
from tests.unit.finetuning.workspace import write_model

RECORDS = [{"prompt": "What does f take?"}, {"prompt": "Is it a list?"}]
ANSWERS = ["An integer and a string.", "No."]


def renumber(folder, first, second):
    """Exchange two tokens: their ids in the tokenizer, their rows of the embedding in the weights."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(content))
    weights = load_file(folder / "model.safetensors")
    [name] = [name for name in weights if "embed" in name]
    order = torch.arange(len(weights[name]))
    order[[vocabulary[first], vocabulary[second]]] = order[[vocabulary[second], vocabulary[first]]]
    weights[name] = weights[name][order].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_reward_model_reads_answers_with_its_own_tokenizer(tmp_path):
    instruct, reward = tmp_path / "instruct", tmp_path / "reward"
    write_model(instruct)
    save(load_reward_model(instruct, seed=1), load_tokenizer(instruct), reward)
    before = load_rewarder(reward, seed=1)(RECORDS, ANSWERS)
    renumber(reward, "a", "e")
    assert load_tokenizer(reward)("a").input_ids != load_tokenizer(instruct)("a").input_ids
    assert load_rewarder(reward, seed=1)(RECORDS, ANSWERS) == pytest.approx(before)


@pytest.mark.parametrize(("limit", "cut", "unread"), [(999, 0, 0), ("whole", 0, 0), ("short", 1, 0), ("asked", 1, 1)])
def test_what_is_cut_is_counted(tmp_path, limit, cut, unread):
    write_model(tmp_path)
    model, tokenizer = load_reward_model(tmp_path, seed=1), load_tokenizer(tmp_path)
    found = encode_answers(tokenizer, RECORDS, ANSWERS)
    longest = len(found.whole().input_ids[0])
    limit = {"whole": longest, "short": longest - 1, "asked": len(found.prompts[0])}.get(limit, limit)
    rewarder = Rewarder(model, tokenizer, limit)
    values = rewarder(RECORDS, ANSWERS)
    assert (values == pytest.approx(Rewarder(model, tokenizer, 999)(RECORDS, ANSWERS))) is not bool(cut)
    reading = rewarder.take()
    assert reading == Reading(2, cut, unread) and rewarder.take() == Reading()
    said = rewarder.words("answers", reading)
    assert [f"1 of 2 answers (50.0%) exceed, with their question, the {limit}" in each for each in said] == [True] * cut


def test_what_the_template_does_not_show_is_scored_by_its_text_and_counted(tmp_path):
    write_model(tmp_path)
    model, shows = load_reward_model(tmp_path, seed=1), load_tokenizer(tmp_path)
    drops = copy.deepcopy(shows)
    for old, new in (
        ("{%- generation -%}", ""),
        ("{%- endgeneration -%}", ""),
        ("message['content'] +", "message['content'].split('~')[-1] +"),
    ):
        assert old in drops.chat_template
        drops.chat_template = drops.chat_template.replace(old, new)
    rewarder = Rewarder(model, drops, 999)
    first, second = rewarder(RECORDS, ["a thought~An integer.", "No."])
    assert (first, second) != pytest.approx(rewarder(RECORDS, ["An integer.", "No."]))
    reading = rewarder.take()
    assert reading == Reading(4, unshown=1)
    [said] = rewarder.words("answers", reading)
    assert said.startswith(
        "answers: 1 of 4 answers (25.0%) are not shown as they are by the reward model's chat template"
    )
