"""A workspace for the fine-tuning stages, in which a random model of 40,000 parameters trains within a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.tokenize.training import CHAT_TEMPLATE, END, PAD, ROLES, SPECIAL_TOKENS

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


def save_model(
    folder: Path,
    texts: list[str],
    *,
    context: int = 128,
    layers: int = 1,
    chat_template: str | None = CHAT_TEMPLATE,
    seed: int = 0,
) -> tuple[Any, Any]:
    """A Llama of 20,000 random weights or more, and a byte-level tokenizer made from ``texts``."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trained.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=SPECIAL_TOKENS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLES.values()),
    )
    tokenizer.chat_template = chat_template
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=layers,
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
    return model.eval(), tokenizer


def write_model(folder: Path, *, context: int = 96, chat_template: str | None = CHAT_TEMPLATE, seed: int = 0) -> None:
    """A random Llama whose tokenizer has seen the questions."""
    texts = [record["prompt"] + record["completion"] for record in signature_records(200)]
    save_model(folder, texts, context=context, layers=2, chat_template=chat_template, seed=seed)


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
