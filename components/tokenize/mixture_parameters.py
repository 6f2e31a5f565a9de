"""Parameters of the mixture of training documents."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from components.contract import StageParameters


class QualitySampling(StageParameters):
    """Documents of a high score are taken more often; each part keeps its tokens."""

    column: str = Field(min_length=1, description="Column of the corpus that holds the score.")
    factors: tuple[float, ...] = Field(
        (0.5, 1.0, 1.5),
        min_length=2,
        description="How often documents are taken, of each of so many groups of equal size, the lowest score first.",
    )

    @model_validator(mode="after")
    def _positive(self) -> QualitySampling:
        if min(self.factors) < 0 or not max(self.factors) > 0:
            raise ValueError("factors must be 0 or more, and one above 0")
        return self


class MixtureParameters(StageParameters):
    """How often the training documents of each part are taken: exactly one of shares, epochs and temperature."""

    by: Literal["source", "language", "kind"] = Field("source", description="Column that says what a part is.")
    shares: dict[str, float] | None = Field(
        None, description="Share of the tokens of each part; they are divided by their sum."
    )
    epochs: dict[str, float] | None = Field(None, description="How many times each part is taken, such as 0.5 or 2.")
    temperature: float | None = Field(
        None, gt=0, le=1000, description="Shares in proportion to tokens ** (1 / temperature); 1: as they are."
    )
    tokens: int | None = Field(
        None, ge=1, description="Training tokens altogether; null: as many as the corpus has. Not with epochs."
    )
    quality: QualitySampling | None = Field(None, description="Documents of a high score more often; null: all alike.")

    @model_validator(mode="after")
    def _said_once(self) -> MixtureParameters:
        given = [name for name in ("shares", "epochs", "temperature") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of shares, epochs and temperature, not {' and '.join(given) or 'none'}"
            )
        for name in ("shares", "epochs"):
            values = getattr(self, name)
            if values is not None and (not values or min(values.values()) < 0 or not max(values.values()) > 0):
                raise ValueError(f"{name}: must be 0 or more, and one above 0")
        if self.epochs is not None and self.tokens is not None:
            raise ValueError("epochs say how many tokens there are: make tokens null, or name shares")
        return self
