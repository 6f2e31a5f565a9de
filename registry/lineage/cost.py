"""What a model cost: device time, tokens and money over its whole ancestry, each execution once; and what it cost to
have it judged by a model behind somebody's endpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.schema import Artifact, Execution, MetricValue
from registry.lineage import judgings
from registry.lineage.trace import ExecutionNode, Trace, trace
from registry.lineage.traversal import chunks
from registry.promotion.parameters import load_section

CPU, GPU = "cpu", "gpu"


class TokenPrice(BaseModel):
    """What a million tokens of a judging model cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: float = Field(ge=0, allow_inf_nan=False)
    completion: float = Field(ge=0, allow_inf_nan=False)


class CostParameters(BaseModel):
    """The ``cost`` section of ``params.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = Field("USD", min_length=1, description="unit of the prices")
    price_per_device_hour: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description="by device as `stemma trace` names it; cpu: a machine without accelerators, gpu: any other device",
    )
    price_per_million_tokens: dict[str, TokenPrice] = Field(
        default_factory=dict, description="by judging model (evaluate.judge.model): prompt and completion"
    )

    @classmethod
    def load(cls, root: Path) -> CostParameters:
        """Read ``params.yaml``.

        Raises:
            InputProblem: see :func:`load_section`.
        """
        return load_section(root, "cost", cls)

    def price(self, device: str) -> float | None:
        """Price of an hour on one such device; ``None`` where none is given."""
        prices = {name.lower(): price for name, price in self.price_per_device_hour.items()}
        kind = CPU if device.lower().startswith(CPU) else GPU
        return prices.get(device.lower(), prices.get(kind))


@dataclass
class ExecutionCost:
    """What one execution took.

    Attributes:
        device_seconds: wall time, times the number of accelerators; processes on CPU share one machine.
        money: ``None`` where the device has no price.
    """

    stage: str
    run: str | None
    device: str
    devices: int
    seconds: float
    device_seconds: float
    tokens: int
    money: float | None


@dataclass
class JudgingCost:
    """What an execution or a command asked of a judging model; verdicts that it took from the cache cost it nothing.

    Attributes:
        money: ``None`` where the judge has no price.
    """

    stage: str
    judge: str
    endpoint: str
    prompt_tokens: int
    completion_tokens: int
    money: float | None


@dataclass
class Cost:
    """A model's cost; ``money`` counts what has a price, ``unpriced`` names the devices and judges that have none.

    ``tokens`` are those that stages processed; those of judges are in ``judging``.
    """

    model: str
    version: int
    currency: str
    executions: list[ExecutionCost]
    judging: list[JudgingCost]
    device_seconds: float
    tokens: int
    money: float
    unpriced: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def cost(session: Session, reference: str, parameters: CostParameters) -> Cost:
    """The cost of a version's ancestry: each execution that made something counts once, what was reused does not.

    Raises:
        UnknownReference: no such model, version or alias.
    """
    traced = trace(session, reference)
    lines = [_line(node, parameters) for node in traced.executions()]
    judging = _judging(session, traced, parameters)
    return Cost(
        model=traced.model,
        version=traced.version,
        currency=parameters.currency,
        executions=lines,
        judging=judging,
        device_seconds=sum(line.device_seconds for line in lines),
        tokens=sum(line.tokens for line in lines),
        money=sum(line.money or 0.0 for line in lines) + sum(line.money or 0.0 for line in judging),
        unpriced=sorted(
            {line.device for line in lines if line.money is None}
            | {line.judge for line in judging if line.money is None}
        ),
    )


def _judging(session: Session, traced: Trace, parameters: CostParameters) -> list[JudgingCost]:
    """What was asked of judges about the models of the tree, oldest first: by executions, then by commands."""

    def line(by: str, judge: str, endpoint: str, prompt: int, completion: int) -> JudgingCost:
        price = parameters.price_per_million_tokens.get(judge)
        money = None if price is None else (price.prompt * prompt + price.completion * completion) / 1e6
        return JudgingCost(by, judge, endpoint, prompt, completion, money)

    digests = [node.digest for node in traced.artifacts() if node.type == "model"]
    found: dict[int, Execution] = {}
    for chunk in chunks(digests):
        measured = (
            select(Execution)
            .where(
                Execution.id.in_(
                    select(MetricValue.execution_id)
                    .join(Artifact, Artifact.id == MetricValue.artifact_id)
                    .where(Artifact.digest.in_(chunk))
                )
            )
            .order_by(Execution.id)
        )
        found |= {execution.id: execution for execution in session.scalars(measured)}
    lines = []
    for execution in found.values():
        environment = execution.environment
        if not (judge := environment.get("judge_model")):
            continue
        prompt, completion = (int(environment[f"judge_{part}_tokens"]) for part in ("prompt", "completion"))
        lines.append(line(execution.stage, judge, environment.get("judge_endpoint", ""), prompt, completion))
    for each in judgings.of_models(session, digests):
        lines.append(line(each.command, each.judge, each.endpoint, each.prompt_tokens, each.completion_tokens))
    return lines


def _line(node: ExecutionNode, parameters: CostParameters) -> ExecutionCost:
    device = node.device or CPU
    devices = 1 if device.startswith(CPU) else node.processes or 1
    seconds = node.seconds or 0.0
    price = parameters.price(device)
    money = None if price is None else price * seconds * devices / 3600
    return ExecutionCost(node.stage, node.run, device, devices, seconds, seconds * devices, node.tokens or 0, money)
