"""What a model cost: device time, tokens and money over its whole ancestry, each execution once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from registry.lineage.trace import ExecutionNode, trace
from registry.promotion.parameters import load_section

CPU, GPU = "cpu", "gpu"


class CostParameters(BaseModel):
    """The ``cost`` section of ``params.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = Field("USD", min_length=1, description="unit of the prices")
    price_per_device_hour: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description="by device as `stemma trace` names it; cpu: a machine without accelerators, gpu: any other device",
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
class Cost:
    """A model's cost; ``money`` counts what has a price, ``unpriced`` names the devices that have none."""

    model: str
    version: int
    currency: str
    executions: list[ExecutionCost]
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
    return Cost(
        model=traced.model,
        version=traced.version,
        currency=parameters.currency,
        executions=lines,
        device_seconds=sum(line.device_seconds for line in lines),
        tokens=sum(line.tokens for line in lines),
        money=sum(line.money or 0.0 for line in lines),
        unpriced=sorted({line.device for line in lines if line.money is None}),
    )


def _line(node: ExecutionNode, parameters: CostParameters) -> ExecutionCost:
    device = node.device or CPU
    devices = 1 if device.startswith(CPU) else node.processes or 1
    seconds = node.seconds or 0.0
    price = parameters.price(device)
    money = None if price is None else price * seconds * devices / 3600
    return ExecutionCost(node.stage, node.run, device, devices, seconds, seconds * devices, node.tokens or 0, money)
