"""A tokenizer as GGUF has it: tokens, their types and merges, and the name of the way llama.cpp cuts a text into words.

llama.cpp has no general pre-tokenizer: it knows some by name (``tokenizer.ggml.pre``), each a regular expression of its
own. Its converter recognizes a published tokenizer by a hash over the tokens of a test string, which no tokenizer that
was trained here could have. Here the name follows from the pre-tokenizer itself, as ``tokenizer.json`` spells it out,
so it holds whatever the vocabulary is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.errors import InputProblem

if TYPE_CHECKING:
    from gguf import GGUFWriter

_S = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
)
_LLAMA3 = rf"{_S}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACE}"
_QWEN2 = _LLAMA3.replace("{1,3}", "")
_GPT_4O = rf"{_CASED[0]}{_S}?|{_CASED[1]}{_S}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACE}"
_TEKKEN = rf"{_CASED[0]}|{_CASED[1]}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACE}"
# (how words are cut, whether a word that is a token needs no merges): the name; llama.cpp ties the second to the first.
# It ties more to a name: by "gpt-2" it takes the space out of "a , b" when it joins tokens to a text. "trillion" cuts
# words by the same expression and joins tokens as they are, which is what transformers does by default.
_NAMES = {
    ("gpt-2", False): "trillion", ("digits", False): "smollm",
    (_LLAMA3, True): "llama-bpe", (_LLAMA3, False): "smaug-bpe",
    (_QWEN2, False): "qwen2", (_GPT_4O, False): "gpt-4o", (_TEKKEN, True): "tekken",
}  # fmt: skip
_GENERATION_MARK = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")
_SPECIAL = ("bos", "eos", "unk", "sep", "pad", "mask")


@dataclass(frozen=True)
class Vocabulary:
    """What is written of a tokenizer.

    Attributes:
        model: ``gpt2`` (byte-level BPE) or ``llama`` (BPE of SentencePiece, with scores in place of merges).
        pre: how llama.cpp cuts a text into words.
        types: of each token, GGUF's numbers.
        special: id of ``bos``, ``eos`` ... as far as the tokenizer names them.
        ends: ids that end an answer besides ``eos``.
        add: whether ``bos``, ``eos``, and a space before the text are put around a text.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float] | None
    special: dict[str, int]
    ends: list[int]
    add: dict[str, bool]
    chat_template: str | None

    def write(self, writer: GGUFWriter) -> None:
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.scores is not None:
            writer.add_token_scores(self.scores)
        if self.merges:
            writer.add_token_merges(self.merges)
        for name, number in self.special.items():
            getattr(writer, f"add_{name}_token_id")(number)
        for add, number in zip((writer.add_eot_token_id, writer.add_eom_token_id), self.ends, strict=False):
            add(number)
        writer.add_add_bos_token(self.add["bos"])
        writer.add_add_eos_token(self.add["eos"])
        writer.add_add_space_prefix(self.add["space"])
        if self.chat_template is not None:
            writer.add_chat_template(plain_template(self.chat_template))


def read(folder: Path, rows: int) -> Vocabulary:
    """The vocabulary of the tokenizer in ``folder``.

    Args:
        rows: of the model's embedding; rows without a token get one that is never used.

    Raises:
        InputProblem: llama.cpp has no such tokenizer.
    """
    from gguf import TokenType
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    body = files.read_json(path, {})
    model = body.get("model") or {}
    if model.get("type") != "BPE":
        raise InputProblem(f"GGUF: the tokenizer is {model.get('type') or 'missing'}; this writer knows BPE only")
    sentencepiece = bool(model.get("byte_fallback"))
    pre = "default" if sentencepiece else pre_tokenizer(body)
    if pre == "trillion" and files.read_json(folder / "tokenizer_config.json", {}).get("clean_up_tokenization_spaces"):
        pre = "gpt-2"
    if sentencepiece and not body.get("normalizer") and not body.get("pre_tokenizer"):
        # One that was trained here, whose spaces are spaces; llama.cpp writes them as SentencePiece does.
        model = _with_signs_for_spaces(model)
    numbers: dict[str, int] = dict(model["vocab"])
    types = dict.fromkeys(numbers.values(), TokenType.NORMAL)
    for added in body.get("added_tokens") or ():
        numbers[added["content"]] = added["id"]
        types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    if (last := max(numbers.values())) >= rows:
        raise InputProblem(f"GGUF: the tokenizer has a token {last}, and the model embeddings for {rows}")
    if sentencepiece:
        types |= {number: TokenType.BYTE for word, number in numbers.items() if re.fullmatch("<0x[0-9A-F]{2}>", word)}
    named = {number: word for word, number in numbers.items()}
    tokens = [named.get(number, f"[PAD{number}]") for number in range(rows)]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    named_special = special_tokens(folder)
    special = {
        name: numbers[token] for name in _SPECIAL if (token := named_special.get(f"{name}_token", "")) in numbers
    }
    if sentencepiece and "unk" in special:
        types[special["unk"]] = TokenType.UNKNOWN
    ends = files.read_json(folder / "generation_config.json", {}).get("eos_token_id")
    return Vocabulary(
        "llama" if sentencepiece else "gpt2",
        pre,
        tokens,
        [types.get(number, TokenType.UNUSED) for number in range(rows)],
        [] if sentencepiece else merges,
        _scores(numbers, merges, rows) if sentencepiece else None,
        special,
        [number for number in ends if number != special.get("eos")] if isinstance(ends, list) else [],
        {**_around(Tokenizer.from_file(str(path)), special), "space": sentencepiece and _adds_space(body)},
        chat_template(folder),
    )


def pre_tokenizer(body: Mapping[str, Any]) -> str:
    """llama.cpp's name of a byte-level BPE's pre-tokenizer.

    Args:
        body: of ``tokenizer.json``.

    Raises:
        InputProblem: it cuts words, or changes the text, in a way that llama.cpp has no name for.
    """
    normalizer = body.get("normalizer") or {}
    # NFC (Qwen) changes no text that is composed already, as nearly all is; llama.cpp leaves it out too.
    if normalizer and normalizer.get("type") != "NFC":
        raise InputProblem(f"GGUF: the tokenizer changes the text first ({normalizer.get('type')}); llama.cpp does not")
    steps = _steps(body.get("pre_tokenizer"))
    found: str | None = None
    if steps and steps[-1]["type"] == "ByteLevel" and not steps[-1]["add_prefix_space"]:
        before, regular = steps[:-1], steps[-1].get("use_regex", True)
        if not before and regular:
            found = "gpt-2"
        elif len(before) == 1 and before[0] == {"type": "Digits", "individual_digits": True} and regular:
            found = "digits"
        elif len(before) == 1 and before[0]["type"] == "Split" and not regular:
            found = before[0]["pattern"].get("Regex") if before[0].get("behavior") == "Isolated" else None
    name = _NAMES.get((str(found), bool(body["model"].get("ignore_merges"))))
    if name is None:
        kinds = " and ".join(step["type"] for step in steps) or "none"
        raise InputProblem(
            f"GGUF: llama.cpp has no name for the tokenizer's way of cutting words ({kinds}); set LLAMA_CPP to a "
            "folder of llama.cpp, whose converter may know the tokenizer"
        )
    return name


def chat_template(folder: Path) -> str | None:
    """The model's own chat template: a file of its own in newer folders, a field in older ones."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = files.read_json(folder / "tokenizer_config.json", {}).get("chat_template")
    if isinstance(found, list):  # several, by name
        found = next((entry["template"] for entry in found if entry.get("name") == "default"), None)
    return found


def special_tokens(folder: Path) -> dict[str, str]:
    """The tokens that templates know by a name, such as ``bos_token``."""
    config = files.read_json(folder / "tokenizer_config.json", {})
    named = {name: value for name, value in config.items() if name.endswith("_token")}
    plain = {name: value.get("content") if isinstance(value, dict) else value for name, value in named.items()}
    return {name: value for name, value in plain.items() if isinstance(value, str)}


def control_tokens(folder: Path) -> list[str]:
    """The tokens that no text is encoded as unless it spells them."""
    added = files.read_json(folder / "tokenizer.json", {}).get("added_tokens") or ()
    return [token["content"] for token in added if token["special"]]


def plain_template(template: str) -> str:
    """A chat template without the marks that show trainers the answer: engines besides transformers know no such tag.

    An empty expression takes the place of each, so that the space around it is trimmed as before.
    """
    return _GENERATION_MARK.sub(r"{{\1 '' \2}}", template)


def _steps(pre_tokenizer: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if not pre_tokenizer:
        return []
    if pre_tokenizer["type"] == "Sequence":
        return [step for each in pre_tokenizer["pretokenizers"] for step in _steps(each)]
    return [pre_tokenizer]


def _around(tokenizer: Any, special: Mapping[str, int]) -> dict[str, bool]:
    """Whether the tokenizer puts ``bos`` before a text and ``eos`` behind it."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a").ids
    place = next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), 0)
    before, after = whole[:place], whole[place + len(plain) :]
    if before not in ([], [special.get("bos")]) or after not in ([], [special.get("eos")]):
        raise InputProblem(
            f"GGUF: the tokenizer puts the tokens {[*before, *after]} around a text; llama.cpp knows bos and eos only"
        )
    return {"bos": bool(before), "eos": bool(after)}


def _with_signs_for_spaces(model: Mapping[str, Any]) -> dict[str, Any]:
    vocabulary = {word.replace(" ", "\u2581"): number for word, number in model["vocab"].items()}
    return {
        **model,
        "vocab": vocabulary,
        "merges": [[part.replace(" ", "\u2581") for part in merge] for merge in model["merges"]],
    }


def _adds_space(body: Mapping[str, Any]) -> bool:
    """Whether a SentencePiece tokenizer puts a space before a text."""
    normalizer = body.get("normalizer") or {}
    parts = normalizer.get("normalizers", [normalizer])
    schemes = [step.get("prepend_scheme") for step in _steps(body.get("pre_tokenizer")) if step["type"] == "Metaspace"]
    return any(part.get("type") == "Prepend" for part in parts) or any(scheme != "never" for scheme in schemes)


def _scores(numbers: Mapping[str, int], merges: Sequence[str], rows: int) -> list[float]:
    """The order of the merges as scores of what they make, which is how SentencePiece and llama.cpp order them."""
    scores = [0.0] * rows
    for rank, merge in reversed(list(enumerate(merges))):
        if (made := numbers.get(merge.replace(" ", "", 1))) is not None:
            scores[made] = -float(rank)
    return scores
