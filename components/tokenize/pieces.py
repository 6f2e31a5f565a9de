"""Tokenizers on characters, trained by SentencePiece (Kudo and Richardson 2018): Unigram (Kudo 2018) and BPE.

Two things differ from SentencePiece's own models, so that every text survives encoding and decoding. Spaces are spaces:
SentencePiece writes them as U+2581, and a text that holds that sign comes back with a space. And a character without a
piece of its own becomes its bytes, whatever it is, so there is no unknown token.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from tokenizers import Tokenizer, decoders, models

from components.tokenize.training import PAD, SPECIAL_TOKENS, finished
from core.errors import InputProblem

if TYPE_CHECKING:
    import pyarrow as pa

_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
# A text may spell these; cut into its characters, which are always pieces, it costs less than this.
_NEVER = -10_000.0
_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_THREADS = 4  # sums are divided by threads, so their last bits depend on the number
_COVERAGE = 0.9995  # of the corpus's characters; the rest becomes bytes


def train(kind: Literal["unigram", "bpe"], batches: Iterable[pa.LargeStringArray], vocabulary_size: int) -> Tokenizer:
    """A tokenizer of at most so many entries: the special tokens, 256 bytes, and pieces.

    All the texts are held in memory.
    """
    import sentencepiece

    made = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sentences(batches),
            model_writer=made,
            model_type=kind,
            vocab_size=vocabulary_size - len(SPECIAL_TOKENS) + 1,  # its own unknown token falls away
            hard_vocab_limit=False,
            byte_fallback=True,
            character_coverage=_COVERAGE,
            required_chars=_ASCII,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            max_sentence_length=1 << 30,
            num_threads=_THREADS,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputProblem(
            f"tokenize.vocabulary_size: {vocabulary_size} is too few for SentencePiece, which keeps the corpus's "
            f"characters: {str(error).splitlines()[-1]}"
        ) from error
    trained = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    reserved = {*SPECIAL_TOKENS, *_BYTES}
    scores = dict.fromkeys([*SPECIAL_TOKENS, *_BYTES], _NEVER)
    for number in range(trained.get_piece_size()):
        piece = trained.id_to_piece(number).replace("\u2581", " ")
        if not trained.is_unknown(number) and piece not in reserved:
            scores[piece] = trained.get_score(number)
    model = models.Unigram(list(scores.items()), SPECIAL_TOKENS.index(PAD), True) if kind == "unigram" else _bpe(scores)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return finished(tokenizer)


def _sentences(batches: Iterable[pa.LargeStringArray]) -> Iterator[str]:
    for texts in batches:
        yield from texts.to_pylist()


def _bpe(scores: dict[str, float]) -> models.BPE:
    """SentencePiece joins the two neighbours whose piece has the best score: each way to make a piece is a merge."""
    vocabulary = {piece: number for number, piece in enumerate(scores)}
    merges = [
        (-scores[piece], vocabulary[piece], piece[:cut], piece[cut:])
        for piece in scores
        if scores[piece] != _NEVER
        for cut in range(1, len(piece))
        if scores.get(piece[:cut], _NEVER) != _NEVER and scores.get(piece[cut:], _NEVER) != _NEVER
    ]
    merges.sort(key=lambda merge: (merge[0], merge[1], len(merge[2])))
    return models.BPE(vocab=vocabulary, merges=[merge[2:] for merge in merges], byte_fallback=True)
