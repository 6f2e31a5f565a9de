"""What the parameters ask of a new parent in vain is said before a stage runs."""

from types import SimpleNamespace

from flows.pipeline.parent_model import problems_of_family
from tests.unit.finetuning.workspace import write_model

STAGES = ("pretrain", "instruct_finetune", "preference_tune")


def test_a_longer_context_and_a_template_that_takes_no_question(tmp_path):
    write_model(tmp_path, context=96, chat_template="{{ raise_exception('nobody asks me') }}")
    parent = SimpleNamespace(init="../mine", folder=tmp_path)
    values = {"tokenize": {"tokenizer": "parent"}, "preference_tune": {"seq_length": 2048},
              "instruct_finetune": {"seq_length": 96}, "reward_model": {"seq_length": 2048}}  # fmt: skip
    found = problems_of_family(tmp_path, parent, STAGES, values)
    [longer, refused] = found
    assert longer.startswith("params.yaml: preference_tune.seq_length: 2,048 tokens are more than the 96 that")
    assert refused.startswith("params.yaml: pretrain.init: of a question, the chat template refuses it: nobody asks me")
    assert "set instruct_finetune.template to alpaca" in refused
    values |= {"instruct_finetune": {"template": "alpaca"}, "preference_tune": {"seq_length": "auto"}}
    assert problems_of_family(tmp_path, parent, STAGES, values) == []
