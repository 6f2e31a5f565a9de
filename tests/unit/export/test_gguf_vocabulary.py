"""How a tokenizer is named for llama.cpp, and what of it is written."""

import json
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from components.tokenize import pieces, training
from components.tokenize.corpus import array
from components.tokenize.training import CHAT_TEMPLATE
from core.errors import InputProblem
from deploy.export import gguf_vocabulary
from deploy.export.gguf_vocabulary import plain_template, pre_tokenizer
from tests.trained_tokenizer import trained

TEXT = ["one two three 1234, don't stop: it's  all\n\n fine ... 99 red balloons"] * 20
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def body(*steps, ignore_merges: bool = False, normalizer=None) -> dict:
    """``tokenizer.json`` of a BPE with these pre-tokenizers, as the library writes it."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(steps)) if len(steps) > 1 else steps[0]
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return json.loads(tokenizer.to_str())


def split(pattern: str) -> tuple:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level


GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (body(GPT2), "trillion"),
        (body(pre_tokenizers.Digits(individual_digits=True), GPT2), "smollm"),
        (body(*split(LLAMA3), ignore_merges=True), "llama-bpe"),
        (body(*split(LLAMA3)), "smaug-bpe"),
        (body(*split(QWEN2), normalizer=normalizers.NFC()), "qwen2"),
    ],
)
def test_a_pre_tokenizer_is_named_by_what_it_does(found, name):
    assert pre_tokenizer(found) == name


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (body(pre_tokenizers.ByteLevel(add_prefix_space=True)), "cutting words"),
        (body(pre_tokenizers.Digits(individual_digits=False), GPT2), "cutting words"),
        (body(*split(r"\w+")), "cutting words"),
        (body(GPT2, ignore_merges=True), "cutting words"),
        (body(GPT2, normalizer=normalizers.Lowercase()), "changes the text first"),
    ],
)
def test_what_llama_cpp_has_no_name_for_is_refused(found, words):
    with pytest.raises(InputProblem, match=words):
        pre_tokenizer(found)


def test_the_platforms_own_tokenizer_is_written_whole(tmp_path: Path):
    tokenizer = trained(TEXT, vocabulary_size=300, min_frequency=2)
    tokenizer.save_pretrained(tmp_path)
    found = gguf_vocabulary.read(tmp_path, rows=len(tokenizer) + 3)
    assert (found.model, found.pre) == ("gpt2", "trillion")
    assert found.tokens[: len(tokenizer)] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert found.tokens[len(tokenizer) :] == [f"[PAD{len(tokenizer) + place}]" for place in range(3)]
    assert [found.types[tokenizer.convert_tokens_to_ids(word)] for word in ("<|user|>", "a")] == [3, 1]
    assert found.types[-1] == 5  # unused
    assert found.special["eos"] == tokenizer.eos_token_id
    assert found.add == {"bos": False, "eos": False, "space": False}
    assert len(found.merges) == len(json.loads((tmp_path / "tokenizer.json").read_text())["model"]["merges"])


def test_more_rows_than_the_model_has_are_refused(tmp_path: Path):
    trained(TEXT, vocabulary_size=300, min_frequency=2).save_pretrained(tmp_path)
    with pytest.raises(InputProblem, match="embeddings for 10"):
        gguf_vocabulary.read(tmp_path, rows=10)


def test_spaces_of_a_sentencepiece_bpe_trained_here_are_written_as_llama_cpp_writes_them(tmp_path: Path):
    made = pieces.train("bpe", [array(TEXT)], 400)
    training.save(made, tmp_path)
    found = gguf_vocabulary.read(tmp_path, rows=400)
    numbers = {word: number for number, word in enumerate(found.tokens)}
    assert found.model == "llama" and not any(" " in word for word in found.tokens)
    assert found.scores is not None and not found.add["space"]
    assert found.scores[numbers["\u2581two"]] < 0 and numbers["\u2581two"] == made.token_to_id(" two")
    assert [found.types[numbers[word]] for word in ("<0x41>", "<|user|>", "t")] == [6, 3, 1]


def test_merges_of_sentencepiece_become_scores_in_their_order(tmp_path: Path):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=330, special_tokens=special[:3]))
    content = json.loads(tokenizer.to_str())
    for byte in special[3:]:
        content["model"]["vocab"][byte] = len(content["model"]["vocab"])
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    found = gguf_vocabulary.read(tmp_path, rows=len(content["model"]["vocab"]))
    assert (found.model, found.pre, found.add["space"]) == ("llama", "default", True)
    assert [found.types[content["model"]["vocab"][word]] for word in ("<unk>", "<s>", "<0x0A>")] == [2, 3, 6]
    made = [found.scores[content["model"]["vocab"]["".join(pair)]] for pair in content["model"]["merges"]]
    assert made == sorted(made, reverse=True) and made[0] == 0


def test_a_template_loses_the_marks_that_only_transformers_knows():
    plain = plain_template(CHAT_TEMPLATE)
    assert "generation -%}" not in plain and "add_generation_prompt" in plain
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [{"role": "user", "content": " q "}, {"role": "assistant", "content": " a\n"}]
    for prompt in (True, False):
        texts = [
            render_jinja_template([messages], chat_template=each, add_generation_prompt=prompt, eos_token="</s>")[0]
            for each in (CHAT_TEMPLATE, plain)
        ]
        assert texts[0] == texts[1]
