"""The tokenizer as packing sees it: one trained here, or an existing one, completed with what later stages need."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.tokenize import training
from components.tokenize.training import CHAT_TEMPLATE, END, PAD, ROLES
from core.errors import InputProblem

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Packing:
    """What packing and its report need of a tokenizer.

    Attributes:
        backend: encodes and decodes.
        vocabulary: number of entries, those added included.
        end: the token that ends a text.
        start: the token that begins one, if the tokenizer has such a token.
        special: ids of the special tokens, by their spelling.
        save: writes the tokenizer's files into a folder.
    """

    backend: Tokenizer
    vocabulary: int
    end: int
    start: int | None
    special: dict[str, int]
    save: Callable[[Path], object]


def trained(backend: Tokenizer) -> Packing:
    """A tokenizer that :mod:`components.tokenize.training` made."""
    special = {token: number for number, token in enumerate(training.SPECIAL_TOKENS)}
    return Packing(
        backend,
        backend.get_vocab_size(),
        special[END],
        special[END],
        special,
        lambda folder: training.save(backend, folder),
    )


def existing(tokenizer: PreTrainedTokenizerBase) -> Packing:
    """A tokenizer of transformers. Encoders have no token that ends a text but the one that separates two."""
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    special = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.all_special_tokens}
    return Packing(
        tokenizer.backend_tokenizer,
        len(tokenizer),
        int(end),
        tokenizer.bos_token_id,
        special,
        tokenizer.save_pretrained,
    )


def load_parent(folder: Path | None) -> PreTrainedTokenizerBase:
    """The tokenizer of the model in ``models/parent``, to which nothing is added.

    Raises:
        InputProblem: there is no such model, or its tokenizer cannot pack texts.
    """
    if folder is None:
        raise InputProblem("tokenize.tokenizer is parent, and models/parent is empty: name a model in pretrain.init")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise InputProblem(f"tokenize.tokenizer: the tokenizer in {folder} cannot be loaded: {error}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise InputProblem(f"tokenize.tokenizer: the model in {folder} has no tokenizer.json, which the packing needs")
    if tokenizer.eos_token is None and tokenizer.sep_token is None:
        raise InputProblem(
            f"tokenize.tokenizer: the tokenizer in {folder} has no token that ends a text (eos_token or sep_token)"
        )
    return tokenizer


def load(name: str) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """The tokenizer called ``name`` (folder, ``.model`` file or hub id), and what had to be added to it, in words.

    Its own end token, padding token and chat template are kept where it has them.
    """
    path = Path(name)
    if path.exists() and not path.is_dir() and path.suffix != ".model":
        raise InputProblem(
            f"tokenize.tokenizer: {name} is a file; name the folder that holds tokenizer.json, or a .model file of "
            f"SentencePiece"
        )
    from transformers import AutoTokenizer

    try:
        if path.is_file():
            tokenizer = _of_sentencepiece(path)
        else:
            tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise InputProblem(
            f"tokenize.tokenizer: cannot load a tokenizer from {name!r}, neither as a folder nor from the hub: {error}"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise InputProblem(f"tokenize.tokenizer: {name!r} has no tokenizer.json, which the packing needs")
    added = []
    if tokenizer.eos_token is None:
        tokenizer.add_special_tokens({"eos_token": END})
        added.append(f"the end token {END}")
    if tokenizer.bos_token is None:
        tokenizer.bos_token = tokenizer.eos_token
        added.append(f"{tokenizer.eos_token} as the token that begins a text")
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": PAD})
        added.append(f"the padding token {PAD}")
    if tokenizer.chat_template is None:
        missing = [tag for tag in ROLES.values() if tag not in tokenizer.get_vocab()]
        tokenizer.add_tokens(missing, special_tokens=True)
        tokenizer.chat_template = CHAT_TEMPLATE
        added.append(f"a chat template with {', '.join(ROLES.values())}")
    return tokenizer, added


def _of_sentencepiece(path: Path) -> PreTrainedTokenizerBase:
    """A model of SentencePiece as transformers converts it, with the special tokens that the model itself names."""
    import sentencepiece
    from tokenizers import decoders, pre_tokenizers
    from transformers import AutoTokenizer

    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except RuntimeError as error:
        raise ValueError(f"it is no model of SentencePiece ({error})") from error
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(path, Path(folder) / "tokenizer.model")
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    if model.encode("a", out_type=str)[0].startswith("\u2581"):
        # The space that SentencePiece puts before a text, which transformers leaves out where it knows no class.
        backend, spaces = tokenizer.backend_tokenizer, decoders.Metaspace(prepend_scheme="always")
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
        backend.decoder = decoders.Sequence([decoders.ByteFallback(), spaces, decoders.Fuse()])
    for kind in ("bos", "eos", "pad", "unk"):
        if (number := getattr(model, f"{kind}_id")()) >= 0:
            setattr(tokenizer, f"{kind}_token", model.id_to_piece(number))
    return tokenizer
