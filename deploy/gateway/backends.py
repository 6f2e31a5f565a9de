"""The backends: which engines there are, how each is started, what its requests look like, what it cannot do."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import adapted, python
from deploy.gateway.errors import ApiError
from deploy.gateway.model_folder import ModelFolder
from deploy.gateway.schemas import ChatRequest, CompletionRequest
from registry.errors import RegistryError

GREEDY = 1e-3  # temperatures below it take the likeliest token anyway, and divide by next to nothing
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


class NoSuchBackend(RegistryError):
    """The engine that --engine names cannot be started here."""


@dataclass(frozen=True)
class Backend:
    """A program that loads a model and answers over HTTP.

    Attributes:
        name: for people.
        template: its command, with ``{model}`` and ``{port}``.
        concurrency: requests that it works on at once; others wait in the gateway.
        by_name: the command gets the folder's name and runs beside it, rather than the folder's path.
        native: speaks OpenAI's API as it is, with the extensions of vLLM.
        adapters: loads LoRA adapters while it runs, as vLLM does; other engines get them merged into their base.
        environment: what the process gets besides its usual environment.
    """

    name: str
    template: tuple[str, ...]
    concurrency: int
    by_name: bool = False
    native: bool = True
    adapters: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def argument(self, folder: Path) -> str:
        """What requests call the model."""
        if self.adapters and adapted.is_adapted(folder):
            return f"adapter-{folder.name}"
        return self._place(folder)

    def _place(self, folder: Path) -> str:
        """What stands for ``{model}``."""
        return folder.name if self.by_name else str(folder)

    def command(self, folder: Path, port: int) -> list[str]:
        words = {"{model}": self._place(folder), "{port}": str(port)}
        found = []
        for part in self.template:
            for word, value in words.items():
                part = part.replace(word, value)
            found.append(part)
        return found

    def body(self, model: ModelFolder, request: ChatRequest | CompletionRequest, tokens: int) -> dict[str, Any]:
        """A request as this engine takes it; it always streams, so that a client that goes ends the work on its answer.

        Args:
            tokens: most tokens of the answer.

        Raises:
            ApiError: the engine cannot do what the request wants.
        """
        body: dict[str, Any] = {"model": self.argument(model.path), "stream": True}
        if isinstance(request, CompletionRequest):
            body["prompt"] = request.text
        else:
            body["messages"] = [message.for_engine() for message in request.messages]
            if request.tools and request.tool_choice != "none":
                body["tools"] = [tool.model_dump(exclude_none=True) for tool in request.tools]
        if request.seed is not None:
            body["seed"] = request.seed
        given = {name: getattr(request, name) for name in SAMPLING if getattr(request, name) is not None}
        return {**body, **(self._native if self.native else self._transformers)(model, request, tokens, given)}

    @staticmethod
    def _native(
        model: ModelFolder, request: ChatRequest | CompletionRequest, tokens: int, given: dict[str, Any]
    ) -> dict[str, Any]:
        more: dict[str, Any] = {"n": request.n, "presence_penalty": request.presence_penalty,
                "frequency_penalty": request.frequency_penalty, "stop": request.stops or None}  # fmt: skip
        if isinstance(request, ChatRequest):
            if request.tools and request.tool_choice not in (None, "none"):
                choice = request.tool_choice
                more["tool_choice"] = choice if isinstance(choice, str) else choice.model_dump()
            if request.response_format is not None:
                more["response_format"] = request.response_format.model_dump(by_alias=True, exclude_none=True)
        return {
            **given, **{name: value for name, value in more.items() if value is not None}, "max_tokens": tokens,
            "stream_options": {"include_usage": True},
        }  # fmt: skip

    @staticmethod
    def _transformers(
        model: ModelFolder, request: ChatRequest | CompletionRequest, tokens: int, given: dict[str, Any]
    ) -> dict[str, Any]:
        """It samples only where a generation configuration says so, and knows top_k nowhere else."""
        for name, neutral in (("n", 1), ("presence_penalty", 0), ("frequency_penalty", 0)):
            if getattr(request, name) not in (None, neutral):
                raise ApiError(
                    400, f"{name}: `transformers serve` does not support it; leave it out, or serve with vLLM",
                    "unsupported_parameter", param=name,
                )  # fmt: skip
        if isinstance(request, ChatRequest):
            forced = request.tool_choice not in (None, "auto", "none")
            formed = request.response_format is not None and request.response_format.type != "text"
            for name, wanted, what in (
                ("tool_choice", forced, "lets the model choose whether it calls a tool"),
                ("response_format", formed, "does not bind an answer to JSON"),
            ):
                if wanted:
                    raise ApiError(
                        400, f"{name}: `transformers serve` {what}; leave it out, or serve with vLLM",
                        "unsupported_parameter", param=name,
                    )  # fmt: skip
        own = {name: model.generation[name] for name in SAMPLING if model.generation.get(name) is not None}
        sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, **own, **given}
        if model.generation.get("do_sample") is False and "temperature" not in given:
            sampling["temperature"] = 0.0
        if sampling["temperature"] < GREEDY:
            kept = {name: sampling[name] for name in ("repetition_penalty",) if name in sampling}
            config: dict[str, Any] = {"do_sample": False, **kept}
        else:
            config = {"do_sample": True, **sampling}
        # Stops are left to the gateway: the engine's own fail on some tokenizers and are part of its answers.
        return {"generation_config": json.dumps({**config, "max_new_tokens": tokens})}


_AT = ("--host", "127.0.0.1", "--port", "{port}")
TRANSFORMERS = Backend(
    "transformers serve",
    (*python.command("transformers.cli.transformers"), "serve", "{model}", *_AT),
    concurrency=1,  # it generates one answer after the other, and a seed holds for the whole process
    by_name=True,  # it takes what follows an "@" in a path for a revision
    native=False,
)  # fmt: skip
VLLM = Backend("vLLM", ("vllm", "serve", "{model}", *_AT), concurrency=256, adapters=True)
CLASSIFIER = Backend(
    "classification_engine.py",
    (*python.command("deploy.gateway.classification_engine"), "{model}", "{port}"),
    concurrency=1,
)


def choose(name: str) -> Backend:
    """The engine for models that generate.

    Args:
        name: ``auto`` (vLLM where it and an NVIDIA GPU are there), ``transformers``, ``vllm``, or a command template.

    Raises:
        NoSuchBackend: it is not installed, or the template lacks a place.
    """
    if name == "auto":
        return VLLM if shutil.which("vllm") and Path("/dev/nvidia0").exists() else TRANSFORMERS
    if name == "transformers":
        return TRANSFORMERS
    if name == "vllm":
        if not shutil.which("vllm"):
            raise NoSuchBackend("vllm is not on PATH; install it (pip install vllm), or use --engine transformers")
        return VLLM
    if "{model}" not in name or "{port}" not in name:
        raise NoSuchBackend(
            f"--engine {name!r}: write auto, transformers, vllm, or a command with {{model}} and {{port}}"
        )
    words = shlex.split(name)
    if not shutil.which(words[0]):
        raise NoSuchBackend(f"--engine: {words[0]} is not on PATH")
    return Backend(Path(words[0]).name, tuple(words), concurrency=256)
