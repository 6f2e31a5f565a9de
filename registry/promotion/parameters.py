"""The ``promotion`` and ``signing`` sections of ``params.yaml``: what the gate requires, and how models are signed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core import parameters_file
from core.errors import InputProblem

Section = TypeVar("Section", bound=BaseModel)


class MetricRule(BaseModel):
    """What a metric of a candidate must be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float | None = Field(None, description="smallest value that passes")
    max: float | None = Field(None, description="largest value that passes")
    max_drop: float | None = Field(
        0.0,
        ge=0,
        description="largest worsening against the alias's holder, in its unit; null: no comparison",
    )

    @model_validator(mode="after")
    def _ordered(self) -> MetricRule:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}, so nothing could pass; swap them")
        return self


class PromotionParameters(BaseModel):
    """The ``promotion`` section of ``params.yaml``: model name, metric name, rule.

    A rule may be null: none. A metric is named as its stage named it, or as ``stage.metric`` where several stages
    measured one of that name.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, dict[str, MetricRule | None]] = Field(init=False)

    approval: Literal["none", "required"] = Field(
        "none", description="required: what passes the gate takes an alias only when a person has approved it"
    )

    max_contamination: float | None = Field(
        None,
        ge=0,
        le=1,
        description="largest share of the evaluation set of a metric that training sets in the model's lineage may "
        "hold; null: not asked",
    )

    @property
    def rules(self) -> dict[str, dict[str, MetricRule]]:
        """By model and metric; a rule that is null is none, so that a recipe can take one back."""
        given = self.__pydantic_extra__ or {}
        return {model: {metric: rule for metric, rule in of_model.items() if rule} for model, of_model in given.items()}

    def shown(self, model: str) -> dict[str, dict[str, float | None]]:
        """The model's rules, as a verdict keeps them."""
        return {metric: rule.model_dump() for metric, rule in self.rules.get(model, {}).items()}

    @classmethod
    def load(cls, root: Path) -> PromotionParameters:
        """Read ``params.yaml``.

        Raises:
            InputProblem: see :func:`load_section`.
        """
        return load_section(root, "promotion", cls)


class SigningParameters(BaseModel):
    """The ``signing`` section of ``params.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["key", "sigstore"] = Field(
        "key", description="key: this home's own (or STEMMA_SIGNING_KEY); sigstore: an identity, by short-lived keys"
    )
    identity: str | None = Field(
        None, description="sigstore: identity whose signature is trusted, such as ci@example.org"
    )
    issuer: str | None = Field(
        None, description="sigstore: the OpenID Connect issuer of that identity, such as https://accounts.google.com"
    )

    @model_validator(mode="after")
    def _named(self) -> SigningParameters:
        if self.method == "sigstore" and not (self.identity and self.issuer):
            raise ValueError("method sigstore needs identity and issuer to check the signature; set both")
        return self

    @classmethod
    def load(cls, root: Path) -> SigningParameters:
        """Read ``params.yaml``.

        Raises:
            InputProblem: see :func:`load_section`.
        """
        return load_section(root, "signing", cls)


def load_section(root: Path, section: str, model: type[Section]) -> Section:
    """A section of ``params.yaml``.

    Raises:
        InputProblem: the file is missing or not readable, or the section has mistakes; all of them are listed.
    """
    try:
        return model.model_validate(parameters_file.read(root / "params.yaml").get(section) or {})
    except ValidationError as error:
        problems = [(".".join(map(str, (section, *each["loc"]))), each["msg"]) for each in error.errors()]
        raise InputProblem([f"params.yaml: {path}: {message}" for path, message in problems]) from None
