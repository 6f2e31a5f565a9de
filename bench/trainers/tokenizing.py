"""Texts to packed token ids: `python tokenizing.py SIDE FOLDER RESULT.json`.

Runs in the environment of its own side, which is imported before the clock starts. FOLDER holds ``texts.jsonl``, the
same texts as ``data/corpus``, and the tokenizer. Every text is followed by the end token, ids are 16 bits. Writes the
processor seconds of this process and of those it started, its resident set before and its largest one, and the digest
of the ids.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from marks import peak

END = "<|endoftext|>"


def main() -> None:
    side, folder, result = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    work = {"stemma": stemma, "datatrove": datatrove, "tiktoken": tiktoken, "litdata": litdata}[side](folder, out)
    before, began = resident(), seconds()
    work()
    took, largest = seconds() - began, peak()
    ids = read(side, out)
    digest = hashlib.sha256(ids.tobytes()).hexdigest()
    result.write_text(
        json.dumps({"seconds": took, "before": before, "peak": largest, "tokens": len(ids), "digest": digest})
    )


def seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def texts(folder: Path) -> Iterator[str]:
    with open(folder / "texts.jsonl", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


def stemma(folder: Path, out: Path) -> Callable[[], object]:
    """The stage itself: it checks the corpus, compares its encoders, packs, and writes its report."""
    from bench.stages import run_stage

    names = ("stage", "tokenizer", "encoded", "mixture", "report")
    for module in ("transformers.models.auto.tokenization_auto", "components.finetuning.templates",
                   *(f"components.tokenize.{name}" for name in names)):  # fmt: skip
        importlib.import_module(module)
    parameters = {"tokenizer": str(folder / "models/tokenizer"), "engine": {"workers": 1}}
    return lambda: run_stage("tokenize", out, parameters, inputs=folder)


def datatrove(folder: Path, out: Path) -> Callable[[], object]:
    """Its DocumentTokenizer with its defaults but the shuffling, which the others leave to the training."""
    from datatrove.data import Document
    from datatrove.pipeline.tokens import DocumentTokenizer
    from loguru import logger

    logger.remove()
    step = DocumentTokenizer(
        str(out), str(folder / "models/tokenizer/tokenizer.json"), save_filename="ids", eos_token=END,
        shuffle_documents=False,
    )  # fmt: skip
    return lambda: step.run(Document(text=text, id=str(n)) for n, text in enumerate(texts(folder)))  # type: ignore[call-arg]


def tiktoken(folder: Path, out: Path) -> Callable[[], object]:
    """As nanochat's loader and nanoGPT's preparation do it: tiktoken on batches of texts, ids appended to an array."""
    import tiktoken

    model = json.loads((folder / "models/tokenizer/tokenizer.json").read_text(encoding="utf-8"))["model"]
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
    ranks = {
        bytes(byte_of[sign] for sign in token): number
        for token, number in model["vocab"].items()
        if all(sign in byte_of for sign in token) and not (token.startswith("<|") and token.endswith("|>"))
    }
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    encoding = tiktoken.Encoding(
        "bench", pat_str=pattern, mergeable_ranks=ranks, special_tokens={END: model["vocab"][END]}
    )

    def work() -> None:
        batch: list[str] = []
        with open(out / "ids", "wb") as file:

            def encode() -> None:
                for ids in encoding.encode_ordinary_batch(batch, num_threads=1):
                    ids.append(encoding.eot_token)
                    file.write(np.array(ids, dtype=np.uint16).tobytes())
                batch.clear()

            for text in texts(folder):
                batch.append(text)
                if len(batch) == 128:
                    encode()
            encode()

    return work


def litdata(folder: Path, out: Path) -> Callable[[], object]:
    """Its `optimize` with one worker and chunks of 64 MB, of texts that `tokenizers` encodes."""
    from litdata import TokensLoader, optimize

    encode = partial(_litdata_text, str(folder / "models/tokenizer/tokenizer.json"))
    return lambda: optimize(
        encode, list(texts(folder)), output_dir=str(out / "litdata"), chunk_bytes="64MB", num_workers=1,
        item_loader=TokensLoader(),
    )  # fmt: skip


def _litdata_text(tokenizer: str, text: str) -> Iterator[object]:
    import torch

    loaded = _tokenizer(tokenizer)
    ids = loaded.encode(text, add_special_tokens=False).ids
    yield torch.tensor([*ids, loaded.token_to_id(END)], dtype=torch.int32)


@cache
def _tokenizer(path: str) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)


def read(side: str, out: Path) -> np.ndarray:
    if side == "stemma":
        return np.concatenate([np.fromfile(p, dtype="<u2") for p in sorted((out / "data/tokens").glob("train-*.bin"))])
    if side == "litdata":
        parts = [np.fromfile(path, dtype="<i4") for path in sorted((out / "litdata").glob("chunk-*.bin"))]
        # A chunk begins with the number of its items and where each begins.
        return np.concatenate([part[part[0] + 2 :] for part in parts]).astype("<u2")
    return np.fromfile(next(path for path in sorted(out.glob("*ids*")) if path.suffix in ("", ".ds")), dtype="<u2")


if __name__ == "__main__":
    main()
