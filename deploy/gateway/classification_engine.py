"""The engine for classifiers: ``python -m deploy.gateway.classification_engine FOLDER PORT``, on the loopback.

Engines for language models do not serve sequence classifiers, so this one does. It is a process of its own, as they
are, and imports nothing of Stemma: it gets a folder that was verified, and answers ``/health`` and ``/v1/classify``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, HTTPException
from transformers import AutoModelForSequenceClassification, AutoTokenizer

BATCH = 32  # texts that go through the model at once
CHARACTERS = 64  # of a text that are read for each token of the context; no language has so many to a token


class WithoutToken(ValueError):
    """Texts in which the model's vocabulary has no token."""


def classifier(model: Any, tokenizer: Any) -> Callable[[list[str]], list[dict[str, Any]]]:
    """What classifies texts by a model; it raises :class:`WithoutToken`."""
    context = min(getattr(model.config, "max_position_embeddings", None) or sys.maxsize, tokenizer.model_max_length)
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    threshold = getattr(model.config, "decision_threshold", None)  # as classify_finetune chose it
    several = model.config.problem_type == "multi_label_classification"

    @torch.inference_mode()
    def classify(texts: list[str]) -> list[dict[str, Any]]:
        """For each text its label, the probabilities of all labels, its tokens, and whether it was truncated.

        A control token that a text spells is read as plain text.
        """
        read = [text[: context * CHARACTERS] for text in texts]  # a tokenizer takes minutes for some books
        encoded = [tokenizer(text, split_special_tokens=True)["input_ids"] for text in read]
        if empty := [str(place) for place, ids in enumerate(encoded) if not ids]:
            raise WithoutToken(f"input: texts without a token: {', '.join(empty[:10])} (counted from 0)")
        kept = [ids if len(ids) <= context else _cut(text) for ids, text in zip(encoded, read, strict=True)]
        if model.config.is_encoder_decoder:  # its head looks for the end, of which there must be one
            end = model.config.eos_token_id
            kept = [[*[token for token in ids if token != end][: context - 1], end] for ids in kept]
        order = sorted(range(len(texts)), key=lambda place: len(kept[place]))  # little padding
        found: list[dict[str, Any]] = [{}] * len(texts)
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            batch = tokenizer.pad({"input_ids": [kept[place] for place in places]}, return_tensors="pt").to(
                model.device
            )
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
            rows = (logits.sigmoid() if several else logits.softmax(-1)).tolist()
            for place, row in zip(places, rows, strict=True):
                best = _decided(row)
                found[place] = {
                    "label": names[best], "probability": row[best], "probabilities": dict(zip(names, row, strict=True)),
                    "tokens": len(kept[place]),
                    "truncated": len(kept[place]) < len(encoded[place]) or len(read[place]) < len(texts[place]),
                }  # fmt: skip
        return found

    def _cut(text: str) -> list[int]:
        """As many tokens as the model takes, the special ones that end a text among them, as in training."""
        ids: list[int] = tokenizer(text, split_special_tokens=True, truncation=True, max_length=context)["input_ids"]
        return ids

    def _decided(row: list[float]) -> int:
        """Place of the label: the most probable one, or of two the one whose probability reaches its threshold."""
        best = max(range(len(row)), key=row.__getitem__)
        if len(row) != 2 or not threshold:
            return best
        [(label, probability)] = threshold.items()
        place = names.index(label)
        return place if row[place] >= probability else 1 - place

    return classify


def build(folder: str) -> FastAPI:
    """The application, its model loaded from safetensors only and without running code of its own."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, use_safetensors=True, trust_remote_code=False, device_map="cuda" if torch.cuda.is_available() else "cpu"
    ).eval()
    classify = classifier(model, tokenizer)
    app = FastAPI(openapi_url=None)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/classify")
    async def answer(body: dict[str, Any]) -> list[dict[str, Any]]:
        try:
            return await asyncio.to_thread(classify, body["input"])
        except WithoutToken as problem:
            raise HTTPException(400, str(problem)) from None

    return app


if __name__ == "__main__":
    uvicorn.run(build(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
