"""Encoders and encoder-decoders as reward models: they read question and answer as two texts."""

import shutil

import pytest
import torch

from components.finetuning.models import give_padding, load_reward_model, load_tokenizer
from components.finetuning.preview import examples
from components.finetuning.rewards import Rewarder, encode_answered, load_rewarder
from components.reward_model import component
from core.errors import InputProblem
from tests.stage import run_component
from tests.unit.finetuning import tiny
from tests.unit.finetuning.workspace import quick, write_records

QUESTIONS = [{"prompt": "the ball"}, {"prompt": "soup salt bread oven onion rice pot"}]
ANSWERS = ["team won", "bake"]
TRAINING = {"init": "base", "optimizer": "adamw", "learning_rate": 0.01}


@pytest.mark.parametrize("family", [*tiny.ENCODERS, *tiny.ENCODER_DECODERS])
def test_padding_changes_no_reward(family, tmp_path):
    tiny.save(tmp_path / "base", family)
    tokenizer = load_tokenizer(tmp_path / "base")
    give_padding(tokenizer, tmp_path / "base")
    reward = Rewarder(load_reward_model(tmp_path / "base", seed=1), tokenizer, 64)
    alone = [reward([question], [answer])[0] for question, answer in zip(QUESTIONS, ANSWERS, strict=True)]
    assert reward(QUESTIONS, ANSWERS) == pytest.approx(alone, abs=1e-5)
    assert reward(QUESTIONS, ANSWERS[::-1]) != pytest.approx(alone, abs=1e-5)


def test_what_is_read():
    tokenizer = tiny.tokenizer_of("bert")
    call = {"function": {"name": "keeper", "arguments": {}}}
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [call]},
             {"role": "tool", "content": "ball"}, {"role": "user", "content": "goal"}]  # fmt: skip
    [short, long], faults = encode_answered(tokenizer, [{"prompt": "ball"}, {"messages": turns}], ["goal", "won"])
    assert tokenizer.decode(short) == "[CLS] ball [SEP] goal [SEP]" and not faults
    assert long[-3:] == tokenizer.convert_tokens_to_ids(["[SEP]", "won", "[SEP]"]) and len(long) > 14, "with its call"
    [cut], _ = encode_answered(tokenizer, [{"prompt": "ball " * 90}], ["won"], limit=9)
    assert tokenizer.decode(cut) == "[CLS] ball ball ball ball ball [SEP] won [SEP]"


def test_of_two_texts_the_longer_one_is_cut_and_counted(tmp_path):
    tiny.save(tmp_path, "bert")
    tokenizer = load_tokenizer(tmp_path)
    rewarder = Rewarder(load_reward_model(tmp_path, seed=1), tokenizer, 9)
    rewarder([{"prompt": "ball " * 20}, {"prompt": "ball"}, {"prompt": "ball"}], ["won", "won", "goal " * 20])
    (said,) = rewarder.words("answers", rewarder.take())
    assert said.startswith("answers: 2 of 3 answers (66.7%) exceed, with their question, the 9 tokens")
    assert said.endswith("are scored without the end of the longer one of question and answer")


def prepare(workspace, family):
    tiny.save(workspace / "models/base", family, spread=0)
    pairs = [{"prompt": f"the {tiny.WORDS[i % 20]} {tiny.WORDS[i // 20]}", "chosen": f"goal {tiny.WORDS[i % 7]}",
              "rejected": f"soup {tiny.WORDS[i % 7]}"} for i in range(60)]  # fmt: skip
    write_records(workspace, reward=pairs)


@pytest.mark.parametrize(("family", "adapter"), [("bert", "none"), ("bert", "lora"), ("t5", "none")])
def test_users_pairs_are_learnt(family, adapter, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    prepare(tmp_path, family)
    training = quick(20, checkpoint_every=20, adapter={"type": adapter}, **TRAINING)
    context = run_component(component, tmp_path, training)
    [metric] = context.metrics
    assert metric.value > 0.9 and set(metric.baselines) == {"shorter_wins", "surface_features"}
    folder = tmp_path / "models/reward"
    question = [{"prompt": "the ball a"}]
    better, worse = (load_rewarder(folder, seed=2)(question, [word])[0] for word in ("goal the", "soup the"))
    assert better > worse
    # Whoever loads the folder gives the model what it was trained on.
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.inference_mode():
        plain = model.eval()(**tokenizer("the ball a", "goal the", return_tensors="pt")).logits.item()
    assert model.config.num_labels == 1 and plain == pytest.approx(better, abs=1e-5)


def test_rows_without_a_pair_are_named(tmp_path):
    prepare(tmp_path, "bert")
    write_records(tmp_path, reward=[{"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "why"}])
    with pytest.raises(InputProblem, match=r"row 2: .* as only a decoder answers"):
        run_component(component, tmp_path, quick(2, **TRAINING))


def test_a_preview_shows_both_texts(tmp_path):
    prepare(tmp_path, "bert")
    where, found = examples(tmp_path, "reward_model", template="chat", train_on="all", count=1)
    assert where == "the tokenizer of models/base"
    assert found[0].parts == [("[CLS] the the the [SEP] goal the [SEP]", False)]


@pytest.mark.slow
def test_few_pairs_are_enough_for_a_real_encoder(minilm, tmp_path):
    """Kind answers to questions of other topics than the ones it learnt from."""
    topics = ("cooking", "football", "taxes", "gardens", "trains", "music", "history", "winter", "dogs", "sailing")
    pairs = [{"prompt": f"Can you help me with {topic}?", "group": topic, "chosen": good, "rejected": bad}
             for topic in topics for good, bad in (
                 (f"With pleasure! What about {topic} do you want to know?", f"No. Go away with your {topic}, idiot."),
                 ("Happy to help, thank you for asking.", "What a stupid question, leave me alone."))]  # fmt: skip
    shutil.copytree(minilm, tmp_path / "models/base")
    write_records(tmp_path, reward=pairs)
    training = {**TRAINING, "learning_rate": 3e-4, "seq_length": 48, "held_out_share": 0.4}
    context = run_component(component, tmp_path, quick(8, checkpoint_every=8, **training))
    assert context.metrics[0].value == 1
    reward = load_rewarder(tmp_path / "models/reward", seed=1)
    kind, rude = reward([{"prompt": "Where is the station?"}] * 2, ["I gladly show you the way.", "Shut up, fool."])
    assert kind > rude
    [ids], _ = encode_answered(reward.tokenizer, [{"prompt": "a [SEP] b"}], ["c"])
    assert ids.count(reward.tokenizer.sep_token_id) == 2, "what a text spells is text"
