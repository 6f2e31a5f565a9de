"""What the gateway was told on its command line."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

DEFAULT_MODELS = ("assistant@champion", "classifier@champion")


@dataclass(frozen=True)
class Limits:
    """What one request, one key and all together may ask for.

    Attributes:
        body_bytes: size of a request.
        tokens: that one answer may have; also what it may have where the request names no number.
        texts: of one classification.
        requests_per_minute: of one key; 0 is no limit.
        queue: requests that may wait for an engine.
        seconds: from a request's arrival to the end of its answer.
        wait_seconds: that a request waits for an engine that is being started.
    """

    body_bytes: int = 4 * 2**20
    tokens: int = 4096
    texts: int = 256
    requests_per_minute: int = 600
    queue: int = 256
    seconds: float = 600.0
    wait_seconds: float = 20.0


@dataclass(frozen=True)
class Settings:
    """Everything else.

    Attributes:
        models: MODEL@ALIAS or MODEL:VERSION of each; a bare MODEL is its champion.
        engine: ``auto``, ``transformers``, ``vllm``, or a command with ``{model}`` and ``{port}``.
        poll_seconds: how often the registry is asked who holds the aliases.
        start_seconds: that an engine has to load a model and answer.
        first_retry_seconds: before a version that was refused, or whose engine died, is tried again; doubled each time.
        last_retry_seconds: what that grows to.
        stop_seconds: that requests have to finish when the gateway is told to end.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    models: tuple[str, ...] = DEFAULT_MODELS
    engine: str = "auto"
    limits: Limits = field(default_factory=Limits)
    poll_seconds: float = 1.0
    start_seconds: float = 600.0
    first_retry_seconds: float = 2.0
    last_retry_seconds: float = 300.0
    stop_seconds: float = 5.0

    @property
    def references(self) -> list[str]:
        """The models, each by a full name, each once."""
        full = (name if "@" in name or ":" in name else f"{name}@champion" for name in self.models)
        return list(dict.fromkeys(full))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the gateway."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether an address to listen at is of this machine only; names other than ``localhost`` are not trusted to be."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
