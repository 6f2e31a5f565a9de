"""A workspace for the alignment stages that a random model of 40,000 parameters works in within a second."""

from __future__ import annotations

import json
from pathlib import Path

from components.tokenize.tokenizer import CHAT_TEMPLATE, END, PAD, SPECIAL_TOKENS

NAMES = ("alpha", "beta", "gamma", "delta", "omega", "sigma", "kappa", "theta")


def signature_records(count: int, start: int = 0) -> list[dict]:
    """Closed-answer questions; half of the answers are chatty."""
    records = []
    for number in range(start, start + count):
        first, last = NAMES[number % 8], NAMES[(number // 8 + 3) % 8]
        answer = first if number % 2 else last
        kind = "first" if number % 2 else "last"
        chatty = number % 4 < 2
        records.append(
            {
                "prompt": f"Which parameter is {kind}? def f{number} ( {first} , {last} )",
                "completion": f" The answer is {answer}." if chatty else f" {answer}",
                "kind": kind,
                "group": f"f{number // 2}",
                "style": "chatty" if chatty else "terse",
                "reference": answer,
                "verifier": "closed_answer",
            }
        )
    return records


def write_records(workspace: Path, **files: list[dict]) -> None:
    """Write ``data/instructions/<name>.jsonl`` for each keyword."""
    folder = workspace / "data" / "instructions"
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def write_model(folder: Path, *, context: int = 96, chat_template: str | None = CHAT_TEMPLATE, seed: int = 0) -> None:
    """A random Llama with a byte-level BPE tokenizer that has seen the questions."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    texts = [record["prompt"] + record["completion"] for record in signature_records(200)]
    bpe.train_from_iterator(texts, vocab_size=400, special_tokens=SPECIAL_TOKENS, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token=END, eos_token=END, pad_token=PAD)
    tokenizer.chat_template = chat_template
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=context,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_workspace(workspace: Path) -> Path:
    """Base model and the five instruction files."""
    write_model(workspace / "models" / "base")
    write_records(
        workspace,
        instruct=signature_records(120),
        reward=signature_records(40, 200),
        preference=signature_records(40, 300),
        development=signature_records(24, 400),
        test=signature_records(24, 500),
    )
    return workspace


def quick(steps: int = 6, **training: object) -> dict:
    """Training parameters for a handful of steps."""
    return {"steps": steps, "per_device_batch_size": 8, "checkpoint_every": 2, "log_every": 1, **training}
