"""Answers a prompt with a registered model in this process: its files are fetched, verified, then loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import select

from core import adapted
from core.workspace import Workspace
from registry.db.database import open as open_registry
from registry.db.schema import Promotion
from registry.errors import InvalidBytes, RegistryError
from registry.integrity.history import resolve
from registry.integrity.verification import signatures_of, verify_version
from registry.store.materialize import materialize

_WRITES_APART = ("ForConditionalGeneration", "MTModel")  # how the architectures of encoder-decoders end


class NotGenerative(RegistryError):
    """The model has neither a language-model head nor labels: an encoder or a reward model."""


def generate(
    workspace: Workspace,
    reference: str,
    prompt: str,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_tokens: int = 64,
    seed: int = 1337,
    system: str | None = None,
    warn: Callable[[str], None],
) -> Iterator[str]:
    """The answer, piece by piece as it is generated.

    ``base`` continues the prompt; every other model was tuned on the chat template, so the prompt goes through it. A
    classifier's answer is the label of the prompt with its probability, and in lines below it those of the others.

    Args:
        top_k: sample from this number of likeliest tokens; 0: all.
        warn: gets a sentence where the version was never signed.

    Raises:
        RegistryError: no such version, or its files are missing, or differ from what was registered and signed.
        NotGenerative: the model can neither generate nor classify.
    """
    name, files, signed = checked_files(workspace, reference)
    if not signed:
        warn(f"{name} is unsigned: its files are what was registered, but nobody vouches for them; a promotion signs")
    adapted.spare_bitsandbytes(files)
    return answer(
        files,
        prompt,
        chat=name.partition(":")[0] != "base",
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_tokens=max_tokens,
        seed=seed,
        system=system,
    )


def checked_files(workspace: Workspace, reference: str) -> tuple[str, Path, bool]:
    """(``model:version``, its files, whether it is signed); checked as the gateway checks what it serves.

    A version that was never promoted may be unsigned: only its digest is checked then.

    Raises:
        UnknownReference, MissingBytes: there is nothing to load.
        InvalidBytes: the files are not what was registered or signed; or the version was promoted, which signs it, and
            has no signature any more.
        KeyProblem: it was signed by a key that is not trusted here.
    """
    with open_registry(workspace.registry_url) as registry:
        with registry.read() as session:
            version = resolve(workspace, session, reference)
            name = str(version)
            signed = bool(signatures_of(session, version))
            promoted = select(Promotion).filter_by(to_version_id=version.id).where(Promotion.action != "reject")
            should_be = session.scalars(promoted).first() is not None
        if signed:
            return name, verify_version(workspace, registry, name).files, True
    if should_be:
        raise InvalidBytes(
            f"{name} was promoted, which signs a version, and its signature is gone: somebody changed the registry; "
            "`stemma audit` names what does not hold, and `stemma restore` brings a back-up back"
        )
    return name, materialize(workspace, name), False


def answer(
    folder: Path,
    prompt: str,
    *,
    chat: bool,
    temperature: float,
    top_p: float,
    top_k: int = 0,
    max_tokens: int,
    seed: int,
    system: str | None = None,
) -> Iterator[str]:
    """As :func:`generate`, from a model folder that is trusted."""
    from threading import Thread

    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
        TextIteratorStreamer,
        set_seed,
    )
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    architectures = config.architectures or []
    if any(name.endswith("ForSequenceClassification") for name in architectures) and config.num_labels > 1:
        yield from _labels(folder, prompt)
        return
    apart = config.is_encoder_decoder and any(name.endswith(_WRITES_APART) for name in architectures)
    if not apart and not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        raise NotGenerative(f"{', '.join(architectures) or folder.name} scores text, it does not generate any")
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if problem := adapted.problem(folder):
        raise InvalidBytes(problem)
    kind = AutoModelForSeq2SeqLM if apart else AutoModelForCausalLM
    model = kind.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
    model = adapted.apply(model, folder).eval()
    inputs = _encode(tokenizer, prompt, system, apart, chat and tokenizer.chat_template is not None)
    context = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    room = context - (0 if apart else inputs["input_ids"].shape[1])  # the halves have a context each
    if room < 1:
        raise RegistryError(
            f"the prompt has {inputs['input_ids'].shape[1]} tokens, and the model's context holds {context}; shorten "
            "the prompt"
        )
    sampling = (
        {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": top_k}
        if temperature > 0
        else {"do_sample": False}
    )
    failures: list[BaseException] = []
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    set_seed(seed)
    settings = {
        **inputs,
        **sampling,
        "max_new_tokens": min(max_tokens, room),
        "pad_token_id": tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }

    def work() -> None:
        try:
            model.generate(**settings, streamer=streamer)
        except BaseException as error:
            failures.append(error)
            streamer.end()  # or its reader would wait without end

    thread = Thread(target=work, daemon=True)
    thread.start()
    yield from streamer
    thread.join()
    if failures:
        raise failures[0]


def _labels(folder: Path, text: str) -> Iterator[str]:
    """The labels of a text, the model's choice first, then the most probable ones, with their probabilities."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from deploy.gateway.classification_engine import WithoutToken, classifier

    if problem := adapted.problem(folder):
        raise InvalidBytes(problem)
    model = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
    classify = classifier(
        adapted.apply(model, folder).eval(), AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    )
    try:
        [found] = classify([text])
    except WithoutToken:
        raise RegistryError("the model's vocabulary has no token for any word of the text") from None
    others = sorted(found["probabilities"].items(), key=lambda each: (each[0] != found["label"], -each[1]))
    yield "\n".join(f"{label}  {probability:.3f}" for label, probability in others)


def _encode(tokenizer: Any, prompt: str, system: str | None, apart: bool, chat: bool) -> Any:
    """Token ids and mask of the prompt, each of shape (1, tokens)."""
    if apart:
        import torch

        from components.encoder_decoder import sources

        turns = [{"role": "system", "content": system}] if system else []
        ids = torch.tensor(sources(tokenizer, [[*turns, {"role": "user", "content": prompt}]]))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if not chat:
        return tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    control = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    if spelled := [token for token in control if token in f"{system or ''}\n{prompt}"]:
        raise RegistryError(
            f"the prompt spells control tokens of the model: {', '.join(spelled)}; write them in another way, such as "
            "with a space in them"
        )
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
