"""GGUF files answer in llama.cpp as the models do in transformers: a text's tokens, and the greedy answer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from deploy.export import gguf_file
from tests import llama_cpp
from tests.trained_tokenizer import trained

SHAPE = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "initializer_range": 0.3,  # outputs far apart: rounding decides nothing
}  # fmt: skip
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 32}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 4, "tie_word_embeddings": True},  # as Stemma's own
    "llama, scaled": {"num_key_value_heads": 2, "rope_parameters": LLAMA3_ROPE, "attention_bias": True},
    "llama, yarn": {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                                        "original_max_position_embeddings": 32}},
    "mistral": {"num_key_value_heads": 2, "sliding_window": None, "head_dim": 32},
    "qwen2": {"num_key_value_heads": 2, "use_sliding_window": False},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": True},
    "gemma": {"num_key_value_heads": 1, "head_dim": 16},
    "phi3": {"num_key_value_heads": 2, "pad_token_id": 1, "sliding_window": None},
    "gpt2": {"tie_word_embeddings": True},
}  # fmt: skip
TEXTS = [
    "f ( a , b ) isn't  12345 !\n\n\tx = {'é': \"日本\"}  # ok ?", "<|user|>How many?<|assistant|>Two.<|endoftext|>",
    " It's 3.14 ; 99 , red\r\nballoons ...   ",
]  # fmt: skip
# Random models give tokens nearly the same score, and each kind of processor rounds them in its own way.
TIE = 0.01
CORPUS = [" ".join([*TEXTS, "one two three balloons and 12 more, they're red"])] * 8


def greedy(model: Any, prompt: list[int], tokens: int, end: int | None) -> list[int]:
    ids = torch.tensor([prompt])
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, eos_token_id=end,
        pad_token_id=end or 0,
    )  # fmt: skip
    return made[0, len(prompt) :].tolist()


def behind_the_best(model: Any, prompt: list[int], answer: list[int]) -> float:
    """How far an answer's tokens are at most below the best after the same words, in deviations of the scores."""
    with torch.no_grad():
        scores = model(torch.tensor([prompt + answer[:-1]])).logits[0, len(prompt) - 1 :]
    taken = scores.gather(1, torch.tensor(answer)[:, None])[:, 0]
    return float(((scores.amax(dim=1) - taken) / scores.std(dim=1)).max())


def rounded(model: Any) -> Any:
    """The model with its weights in float16's numbers, computed in float32, as llama.cpp does."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    return model.eval()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]]:
    """(model, tokenizer, job, what llama.cpp made of it) by family; one process of llama.cpp runs them all."""
    folder = tmp_path_factory.mktemp("families")
    tokenizer = trained(CORPUS, vocabulary_size=320, min_frequency=2)
    made, jobs = {}, []
    for place, (family, settings) in enumerate(FAMILIES.items()):
        torch.manual_seed(place)
        config = AutoConfig.for_model(family.partition(",")[0], **{**SHAPE, "vocab_size": len(tokenizer), **settings})
        if family == "gpt2":
            config.n_positions = SHAPE["max_position_embeddings"]
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.save_pretrained(folder / family)
        tokenizer.save_pretrained(folder / family)
        target = folder / f"{family.replace(', ', '-')}.gguf"
        gguf_file.write(folder / family, target, "f16", {"general.name": "tiny"})  # llama.cpp reads names as well
        prompts = [tokenizer(text)["input_ids"] for text in TEXTS]
        job = {"model": str(target), "context": 128, "prompts": prompts, "tokens": 20, "end": None, "texts": TEXTS}
        jobs.append(job)
        made[family] = (rounded(model), tokenizer, job)
    return {family: (*rest, ran) for (family, rest), ran in zip(made.items(), llama_cpp.run(jobs), strict=True)}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_answers_in_llama_cpp_as_in_transformers(tiny, family):
    model, tokenizer, job, ran = tiny[family]
    # An end of a text ends an answer in llama.cpp, whichever is asked for.
    end = tokenizer.eos_token_id
    for prompt, answer in zip(job["prompts"], ran["answers"], strict=True):
        assert len(answer) == 20 or answer[-1] == end
        assert behind_the_best(model, prompt, answer) < TIE
    assert len({tuple(answer) for answer in ran["answers"]}) == len(ran["answers"])


def test_texts_have_the_same_tokens_and_come_back_unchanged(tiny):
    _, _, job, ran = tiny["llama"]
    assert ran["tokens"] == job["prompts"]
    assert ran["texts"] == TEXTS


QUESTIONS = [
    "What is the capital of France?", "Write a haiku about rain.", "Explain photosynthesis in one sentence.",
    "What is 17 + 25?", "Name three colours.", "Who wrote Hamlet?", "Translate 'good morning' to Spanish.",
    "What is a prime number?", "Give me a recipe for tea.", "How far is the Moon?", "List two uses of iron.",
    "What does DNA stand for?", "Why is the sky blue?", "Tell me a joke.", "What is Python?", "Define gravity.",
    "Say hello.", "What is the largest ocean?", "How many days are in a leap year?", "What is an adjective?",
]  # fmt: skip


@pytest.mark.nightly  # two minutes; small models of every family are asked above
def test_smollm2_answers_in_llama_cpp_as_in_transformers(smollm2: Path, tmp_path: Path):
    """A real model: also the tensors' places and the tokenizer of 49,152 entries are right."""
    gguf_file.write(smollm2, tmp_path / "smollm2.gguf", "f16", {"general.name": "SmolLM2"})
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    asked = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=False
        )
        for question in QUESTIONS
    ]
    end = tokenizer.eos_token_id
    job = {"model": str(tmp_path / "smollm2.gguf"), "context": 256, "prompts": asked, "tokens": 8, "end": end,
           "texts": TEXTS}  # fmt: skip
    (ran,) = llama_cpp.run([job])
    model = rounded(AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32))
    assert [greedy(model, prompt, 8, end) for prompt in asked] == ran["answers"]
    assert "Paris" in tokenizer.decode(ran["answers"][0])
    assert ran["tokens"] == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
