"""A real encoder (MiniLM, from the package index) knows words that no training text has."""

import shutil

import pytest

from components.classify_finetune import component
from tests.stage import run_component
from tests.unit.classify_finetune.test_labels import write

SPORT = (
    "the striker scored twice before half time", "our goalkeeper saved a penalty", "she won the marathon in a sprint",
    "the tennis final went to five sets", "he was sent off for a foul", "the cyclists climbed the last mountain",
    "swimmers broke the relay record", "the coach changed the defence", "a knockout in the third round",
    "the basketball team lost in overtime", "fans sang in the stadium all night", "the referee blew his whistle",
)  # fmt: skip
FOOD = (
    "simmer the lentils until tender", "whisk eggs with sugar and vanilla", "the curry needs more coriander",
    "roast garlic and tomatoes for an hour", "knead dough and let it rise", "a pinch of saffron colours paella",
    "grill salmon with lemon butter", "the dessert was a chocolate mousse", "peel potatoes for the gratin",
    "season the broth with ginger", "melt cheese over toasted bread", "pickled cabbage goes well with pork",
)  # fmt: skip


@pytest.mark.slow
def test_few_texts_are_enough_for_an_encoder_and_not_for_counts_of_words(minilm, tmp_path):
    (tmp_path / "data").mkdir()
    rows = [(text, label, text) for pair in zip(SPORT, FOOD, strict=True)
            for text, label in zip(pair, ("sport", "food"), strict=True)]  # fmt: skip
    write(tmp_path / "data/labels", names=("food", "sport"), train=rows[:8], validation=rows[8:12], test=rows[12:])
    shutil.copytree(minilm, tmp_path / "models/base")
    context = run_component(component, tmp_path, {
        "steps": 12, "per_device_batch_size": 8, "checkpoint_every": 12, "log_every": 4, "optimizer": "adamw",
        "learning_rate": 3e-4, "seq_length": 24,
    })  # fmt: skip
    [accuracy] = [metric for metric in context.metrics if metric.name == "accuracy"]
    assert accuracy.value >= 11 / 12 > accuracy.baselines["tfidf_logistic_regression"]
