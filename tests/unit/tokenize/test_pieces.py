"""Unigram and SentencePiece's BPE: every text survives, and transformers reads what SentencePiece wrote."""

from __future__ import annotations

import io
import json

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

import components
from components.tokenize import pieces
from components.tokenize.corpus import array
from components.tokenize.encoding import choose
from components.tokenize.tokenizer import load
from components.tokenize.training import SPECIAL_TOKENS
from core.errors import InputProblem
from tests.stage import run_component
from tests.unit.tokenize.stdlib_corpus import docstrings, write_corpus

TEXTS = [document["text"] for document in docstrings(150)]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def tokenizer(request) -> Tokenizer:
    return pieces.train(request.param, [array(TEXTS[:100]), array(TEXTS[100:])], 700)


@settings(max_examples=60, deadline=None)
@given(text=st.one_of(st.text(), st.text(alphabet="<0x4A> \u2581\n|user")))
@example(text="\u2581a \u2581  b")
@example(text="<0x41><0x0A><unk></s>")
@example(text="<|user|>\x00\u65e5\u672c\U0001f469\u200d")
def test_every_text_survives_and_no_special_token_comes_of_it(tokenizer, text):
    tokenizer.encode_special_tokens = True
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert not set(ids) & set(range(len(SPECIAL_TOKENS)))


def test_rare_characters_are_bytes_and_words_are_pieces(tokenizer):
    vocabulary = tokenizer.get_vocab()
    assert len(vocabulary) == 700
    assert [vocabulary[token] for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert " the" in vocabulary and "<0xFF>" in vocabulary
    assert tokenizer.encode("\u6f22").tokens == ["<0xE6>", "<0xBC>", "<0xA2>"]


def test_the_same_texts_give_the_same_tokenizer(tokenizer):
    kind = "unigram" if json.loads(tokenizer.to_str())["model"]["type"] == "Unigram" else "bpe"
    assert pieces.train(kind, [array(TEXTS)], 700).to_str() == tokenizer.to_str()


def test_gigatoken_encodes_the_bpe_and_leaves_unigram_alone(tokenizer):
    unigram = json.loads(tokenizer.to_str())["model"]["type"] == "Unigram"
    _, name = choose(tokenizer, 0, TEXTS[:50])
    assert ("it knows no Unigram models" in name) if unigram else name.startswith("gigatoken ")


def test_the_stage_trains_one_and_transformers_loads_it(tmp_path):
    write_corpus(tmp_path / "data/corpus", 150)
    run_component(components.load("tokenize"), tmp_path, {"model": "unigram", "vocabulary_size": 600})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "models/tokenizer")
    assert len(tokenizer) == 600 and tokenizer.eos_token_id == 0
    talk = [{"role": "user", "content": "a\u2581 b"}, {"role": "assistant", "content": "b"}]
    ids = tokenizer.apply_chat_template(talk, return_dict=True)["input_ids"]
    assert tokenizer.decode(ids) == "<|user|>a\u2581 b<|assistant|>b<|endoftext|>"
    assert [ids[0], ids[-1]] == [3, 0]


def test_a_vocabulary_too_small_for_the_characters_is_a_problem():
    with pytest.raises(InputProblem, match=r"tokenize\.vocabulary_size: 270 is too few for SentencePiece"):
        pieces.train("unigram", [array(TEXTS)], 270)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_model_file_of_sentencepiece_is_taken_with_its_own_special_tokens(kind, tmp_path):
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=made, model_type=kind, vocab_size=600, byte_fallback=True,
        pad_id=3, minloglevel=2, normalization_rule_name="identity",
    )  # fmt: skip
    path = tmp_path / "mine.model"
    path.write_bytes(made.getvalue())
    tokenizer, added = load(str(path))
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<s>", "</s>", "<pad>")
    assert added == ["a chat template with <|system|>, <|user|>, <|assistant|>"]
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    for text in TEXTS[:40]:
        line = " ".join(text.split())  # SentencePiece takes spaces out, transformers only some of them
        ids = saved.encode(line, add_special_tokens=False)
        assert ids == tokenizer.encode(line, add_special_tokens=False) == model.encode(line)
        assert saved.decode(ids) == line
    path.write_bytes(b"nothing")
    with pytest.raises(InputProblem, match="it is no model of SentencePiece"):
        load(str(path))
