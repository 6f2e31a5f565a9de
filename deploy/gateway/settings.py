"""The gateway's settings, as its command line gives them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from core.network import http_url, is_loopback

DEFAULT_MODELS = ("assistant@champion", "assistant@candidate", "classifier@champion")


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of the connections, before anything is known of who asks.

    Attributes:
        in_all: open connections; where there are more, the oldest unfinished request is closed.
        unfinished_per_address: connections of one address that owe the rest of a request, or wait for their next one.
        head_seconds: from a connection, or the answer before, to the end of a request's head.
        body_seconds: from there to the end of the request's body.
        read_seconds: in which a client has to read on, where the answer waits for it.
    """

    in_all: int = 1024
    unfinished_per_address: int = 256
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    read_seconds: float = 60.0

    def within(self, most: int) -> ConnectionLimits:
        """As these, with at most so many connections."""
        return replace(
            self, in_all=min(self.in_all, most), unfinished_per_address=min(self.unfinished_per_address, most // 2)
        )


@dataclass(frozen=True)
class Limits:
    """Limits of one request, of one API key and of the whole gateway.

    Attributes:
        body_bytes: size of a request.
        tokens: most tokens of one answer; also the default where the request gives no number.
        texts: most texts of one classification.
        requests_per_minute: of one key; 0 is no limit.
        queue: requests that may wait for an engine.
        seconds: from a request's arrival to the end of its answer.
        wait_seconds: how long a request waits for an engine that is being started.
    """

    body_bytes: int = 4 * 2**20
    tokens: int = 4096
    texts: int = 256
    requests_per_minute: int = 600
    queue: int = 256
    seconds: float = 600.0
    wait_seconds: float = 20.0


@dataclass(frozen=True)
class GatewaySettings:
    """Everything else.

    Attributes:
        models: MODEL@ALIAS or MODEL:VERSION of each; a bare MODEL is its champion.
        engine: ``auto``, ``transformers``, ``vllm``, or a command with ``{model}`` and ``{port}``.
        poll_seconds: how often the registry is read for the holders of the aliases.
        start_seconds: time for an engine to load a model and answer once.
        first_retry_seconds: before a version that was refused, or whose engine died, is tried again; doubled each time.
        last_retry_seconds: the longest such wait.
        feedback_days: how long answers are kept whose request allows it; 0: nothing is kept.
        stop_seconds: time for requests to finish when the gateway is stopped.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    models: tuple[str, ...] = DEFAULT_MODELS
    engine: str = "auto"
    limits: Limits = field(default_factory=Limits)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    poll_seconds: float = 1.0
    start_seconds: float = 600.0
    first_retry_seconds: float = 2.0
    last_retry_seconds: float = 300.0
    feedback_days: int = 0
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
        return http_url(self.host, self.port)
