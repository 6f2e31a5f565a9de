"""The tables: ML Metadata's nouns, content-addressed by DVC's hashes.

Times are unix seconds, except in ``promotions``, where they are ISO text because they are hashed. Rows are only ever
added, except for what refers to MLflow (run ids, what was sent), and for what people wrote and said, which is deleted
when its time is over or they ask for it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from core.keys import Signed

REVISION = "0006"  # newest migration; a database at this revision needs no alembic at all

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
GENESIS = "0" * 64  # previous hash of the first promotion


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON, str: Text}  # noqa: RUF012


IMPORTED = "import:"  # begins the address of imported weights
IMPORT = "import"  # the stage of `stemma import`, which has no run in MLflow


class Artifact(Base):
    """Bytes with a digest: raw data, a corpus, a model, a report, a gate's verdict."""

    __tablename__ = "artifacts"
    __table_args__ = (UniqueConstraint("type", "hash_algo", "digest"), Index(None, "digest"), Index(None, "name"))

    id: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(40))
    name: Mapped[str]  # workspace-relative path it was first seen at
    hash_algo: Mapped[str] = mapped_column(String(20))
    digest: Mapped[str] = mapped_column(String(80))
    size: Mapped[int | None] = mapped_column(BigInteger)
    files: Mapped[int | None] = mapped_column(BigInteger)
    uri: Mapped[str | None]
    created: Mapped[float]


class ComponentVersion(Base):
    """A stage's code in one version."""

    __tablename__ = "components"
    __table_args__ = (UniqueConstraint("name", "version", "spec_digest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    version: Mapped[str] = mapped_column(String(40))
    spec_digest: Mapped[str] = mapped_column(String(80))


class Execution(Base):
    """One run of a component, one that failed (FAILED), or a stage of a pipeline run that needed none (CACHED)."""

    __tablename__ = "executions"
    __table_args__ = (
        CheckConstraint("state IN ('COMPLETE', 'CACHED', 'FAILED')", name="state"),
        CheckConstraint("(state = 'CACHED') = (original_id IS NOT NULL)", name="original"),
        Index(None, "fingerprint"),
        Index(None, "original_id"),
        Index(None, "state", "mlflow_run_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(80), unique=True)  # so that it is recorded once
    component_id: Mapped[int] = mapped_column(ForeignKey("components.id"))
    stage: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(20))
    fingerprint: Mapped[str] = mapped_column(String(80))
    original_id: Mapped[int | None] = mapped_column(ForeignKey("executions.id"))
    parameters: Mapped[dict[str, Any]]
    non_default: Mapped[dict[str, Any]]
    environment: Mapped[dict[str, Any]]
    warnings: Mapped[list[str]]
    git_commit: Mapped[str | None] = mapped_column(String(64))
    git_dirty: Mapped[bool | None]
    mlflow_run_id: Mapped[str | None] = mapped_column(String(64))
    mlflow_experiment_id: Mapped[str | None] = mapped_column(String(64))
    prefect_flow_run_id: Mapped[str | None] = mapped_column(String(64))
    prefect_task_run_id: Mapped[str | None] = mapped_column(String(64))
    seed: Mapped[int | None] = mapped_column(BigInteger)
    device: Mapped[str | None]
    processes: Mapped[int | None]
    tokens: Mapped[int | None] = mapped_column(BigInteger)
    gpu_seconds: Mapped[float | None]
    cost: Mapped[float | None]
    started: Mapped[float | None]
    ended: Mapped[float | None]
    seconds: Mapped[float | None]
    error: Mapped[str | None]

    component: Mapped[ComponentVersion] = relationship(lazy="joined")


class Event(Base):
    """An execution read or wrote an artifact. CACHED executions have none: their original has them."""

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("execution_id", "direction", "name"),
        CheckConstraint("direction IN ('INPUT', 'OUTPUT')", name="direction"),
        # Each holds all that a step along the lineage reads, so a recursive query touches no table.
        Index(None, "artifact_id", "direction", "execution_id"),
        Index(None, "execution_id", "direction", "artifact_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    execution_id: Mapped[int] = mapped_column(ForeignKey("executions.id"))
    artifact_id: Mapped[int] = mapped_column(ForeignKey("artifacts.id"))
    direction: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(100))
    path: Mapped[str]


class ExecutionContext(Base):
    """What executions belong to: a pipeline run, a release."""

    __tablename__ = "contexts"
    __table_args__ = (UniqueConstraint("type", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(200))
    mlflow_run_id: Mapped[str | None] = mapped_column(String(64))
    created: Mapped[float]
    # what the parent run in MLflow gets: {"parameters": {...}, "metrics": {...}}
    summary: Mapped[dict[str, Any] | None]
    mirrored: Mapped[bool]  # whether MLflow has it


class Association(Base):
    """An execution belongs to a context."""

    __tablename__ = "associations"
    __table_args__ = (Index(None, "execution_id"),)

    context_id: Mapped[int] = mapped_column(ForeignKey("contexts.id"), primary_key=True)
    execution_id: Mapped[int] = mapped_column(ForeignKey("executions.id"), primary_key=True)


class Snapshot(Base):
    """The exact tree of a pipeline run, as a git commit under ``refs/stemma/runs/<name>``."""

    __tablename__ = "snapshots"

    id: Mapped[int] = mapped_column(primary_key=True)
    context_id: Mapped[int] = mapped_column(ForeignKey("contexts.id"), unique=True)
    ref: Mapped[str]
    commit_sha: Mapped[str] = mapped_column(String(64))
    created: Mapped[float]


class RegisteredModel(Base):
    """A name under which versions of a model are kept."""

    __tablename__ = "registered_models"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    created: Mapped[float]


class ModelVersion(Base):
    """One digest of a registered model; the same digest is always the same version."""

    __tablename__ = "model_versions"
    __table_args__ = (
        UniqueConstraint("model_id", "version"),
        UniqueConstraint("model_id", "artifact_id"),
        Index(None, "artifact_id"),
        Index(None, "execution_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("registered_models.id"))
    version: Mapped[int]
    artifact_id: Mapped[int] = mapped_column(ForeignKey("artifacts.id"))
    execution_id: Mapped[int] = mapped_column(ForeignKey("executions.id"))
    created: Mapped[float]
    mlflow_version: Mapped[str | None] = mapped_column(String(20))  # None until MLflow has it

    model: Mapped[RegisteredModel] = relationship(lazy="joined")
    artifact: Mapped[Artifact] = relationship(lazy="joined")
    execution: Mapped[Execution] = relationship()

    def __str__(self) -> str:
        return f"{self.model.name}:{self.version}"


class MetricValue(Base):
    """A metric of an artifact, measured by an execution, on an evaluation set where there is one."""

    __tablename__ = "metrics"
    __table_args__ = (UniqueConstraint("execution_id", "name"), Index(None, "artifact_id", "name"))

    id: Mapped[int] = mapped_column(primary_key=True)
    artifact_id: Mapped[int] = mapped_column(ForeignKey("artifacts.id"))
    eval_set_artifact_id: Mapped[int | None] = mapped_column(ForeignKey("artifacts.id"))
    execution_id: Mapped[int] = mapped_column(ForeignKey("executions.id"))
    name: Mapped[str] = mapped_column(String(200))
    value: Mapped[float]
    stderr: Mapped[float | None]
    n: Mapped[int | None] = mapped_column(BigInteger)
    higher_is_better: Mapped[bool | None]
    baselines: Mapped[dict[str, Any]]
    headline: Mapped[bool]

    execution: Mapped[Execution] = relationship(lazy="joined")
    eval_set: Mapped[Artifact | None] = relationship(foreign_keys=[eval_set_artifact_id], lazy="joined")


class Promotion(Base):
    """A decision about an alias. Append-only (triggers refuse changes) and chained: each row hashes the one before."""

    __tablename__ = "promotions"
    __table_args__ = (
        CheckConstraint("action IN ('promote', 'rollback', 'reject')", name="action"),
        CheckConstraint("length(trim(reason)) > 0", name="reason"),
        Index(None, "model_id", "alias"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("registered_models.id"))
    alias: Mapped[str] = mapped_column(String(100))
    from_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    to_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    action: Mapped[str] = mapped_column(String(20))
    forced: Mapped[bool]
    passed: Mapped[bool]
    gate_artifact_id: Mapped[int] = mapped_column(ForeignKey("artifacts.id"))
    actor: Mapped[str]
    reason: Mapped[str]
    time: Mapped[str] = mapped_column(String(40))
    previous_hash: Mapped[str] = mapped_column(String(64), unique=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)

    model: Mapped[RegisteredModel] = relationship(lazy="joined")
    from_version: Mapped[ModelVersion | None] = relationship(foreign_keys=[from_version_id])
    to_version: Mapped[ModelVersion] = relationship(foreign_keys=[to_version_id])
    gate: Mapped[Artifact] = relationship(foreign_keys=[gate_artifact_id])


class AliasMirror(Base):
    """Which promotion MLflow's alias shows; behind ``promotions`` while MLflow could not be reached."""

    __tablename__ = "alias_mirrors"

    model_id: Mapped[int] = mapped_column(ForeignKey("registered_models.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(String(100), primary_key=True)
    promotion_id: Mapped[int] = mapped_column(ForeignKey("promotions.id"))


class Signature(Base):
    """An OpenSSF model-signing bundle over a version's files."""

    __tablename__ = "signatures"
    __table_args__ = (UniqueConstraint("version_id", "key_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    method: Mapped[str] = mapped_column(String(40))
    key_id: Mapped[str] = mapped_column(String(80))  # sha256 of the public key
    public_key: Mapped[str]  # PEM
    bundle: Mapped[str]  # the signature file, JSON
    created: Mapped[float]


class _SignedRow:
    """The columns of a signed text, as the text that they are."""

    body: Mapped[str]  # canonical JSON: exactly what was signed
    key_id: Mapped[str] = mapped_column(String(80))
    signature: Mapped[str]

    @property
    def signed(self) -> Signed:
        return Signed(self.body, self.key_id, self.signature)


class SignedStatement(_SignedRow, Base):
    """What a home's key signed about the history of promotions, in order; also in git (``refs/stemma/promotions``).

    ``start``: what was there when signatures began; ``promotion``: a row of ``promotions`` and what it rests on.
    """

    __tablename__ = "statements"
    __table_args__ = (CheckConstraint("kind IN ('start', 'promotion')", name="kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    promotion_id: Mapped[int | None] = mapped_column(ForeignKey("promotions.id"), unique=True)


class SignedReceipt(_SignedRow, Base):
    """The receipt that an execution left, as the harness signed it."""

    __tablename__ = "receipts"

    execution_id: Mapped[int] = mapped_column(ForeignKey("executions.id"), primary_key=True)


class Judging(Base):
    """What a command asked of a judging model, beyond what evaluations did; see :mod:`registry.lineage.judgings`."""

    __tablename__ = "judgings"

    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[float]
    command: Mapped[str] = mapped_column(String(40))
    judge: Mapped[str] = mapped_column(String(200))
    endpoint: Mapped[str]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)


class JudgedModel(Base):
    """A model whose answers were judged."""

    __tablename__ = "judged_models"
    __table_args__ = (Index(None, "artifact_id"),)

    judging_id: Mapped[int] = mapped_column(ForeignKey("judgings.id"), primary_key=True)
    artifact_id: Mapped[int] = mapped_column(ForeignKey("artifacts.id"), primary_key=True)


class _Chosen:
    """How it was chosen what a person was asked; see :mod:`registry.feedback.selection`."""

    chosen: Mapped[str] = mapped_column(String(20), server_default="person")
    selection: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class Vote(_Chosen, Base):
    """A person's vote on two answers to one question, A as it was shown first; see :mod:`registry.feedback.votes`.

    Once it ``expires`` the vote stays and its texts go.
    """

    __tablename__ = "votes"
    __table_args__ = (CheckConstraint("choice IN ('a', 'b', 'tie', 'bad')", name="choice"), Index(None, "chosen"))

    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[float]
    voter: Mapped[str] = mapped_column(String(100))  # name of the API key
    question: Mapped[str]
    version_a_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    version_b_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    answer_a: Mapped[str]
    answer_b: Mapped[str]
    choice: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str]
    consent: Mapped[bool] = mapped_column(server_default=false())  # whether models may be trained on it
    expires: Mapped[float | None]


class KeptAnswer(_Chosen, Base):
    """An answer with the conversation before it, and what its person said of it; see :mod:`registry.feedback.answers`.

    Personal data of a fixed form was replaced before it was written.
    """

    __tablename__ = "answers"
    __table_args__ = (
        CheckConstraint("thumb IN ('up', 'down')", name="thumb"),
        CheckConstraint("stars BETWEEN 1 AND 5", name="stars"),
        Index(None, "conversation"),
        Index(None, "person"),
        Index(None, "expires"),
        Index(None, "chosen"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)  # of the answer, as its request was answered
    conversation: Mapped[str] = mapped_column(String(64))
    person: Mapped[str] = mapped_column(String(100))  # name of the API key
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    messages: Mapped[list[dict[str, Any]]] = mapped_column(JSON)  # before the answer: role and content
    answer: Mapped[str]
    consent: Mapped[bool]  # whether models may be trained on it
    time: Mapped[float]
    expires: Mapped[float]
    thumb: Mapped[str | None] = mapped_column(String(4))
    stars: Mapped[int | None]
    edit: Mapped[str | None]  # the answer as its person would have it
    rated: Mapped[float | None]  # when thumb, stars or edit were last given

    version: Mapped[ModelVersion] = relationship()


class Deletion(Base):
    """What a person asked to be deleted was: counts and digests, no content and no name."""

    __tablename__ = "deletions"

    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[float]
    actor: Mapped[str]
    subject: Mapped[str] = mapped_column(String(80))  # keyed hash of the person or the conversation
    rows: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))  # sha256 of the deleted rows, in order
    files: Mapped[list[str]]  # md5 of every exported file that held them
    versions: Mapped[list[str]]  # models that descend from these files


class Deployment(Base):
    """A service that answers with a version, from ``started`` to ``ended`` (``None`` while it does)."""

    __tablename__ = "deployments"
    __table_args__ = (
        CheckConstraint("state IN ('STARTING', 'SERVING', 'STOPPED', 'FAILED')", name="state"),
        Index(None, "version_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    url: Mapped[str | None]
    state: Mapped[str] = mapped_column(String(20))
    started: Mapped[float]
    ended: Mapped[float | None]

    version: Mapped[ModelVersion] = relationship()


class Pin(Base):
    """A pipeline run or a version that is kept from collection, until ``released``."""

    __tablename__ = "pins"
    __table_args__ = (
        CheckConstraint("(context_id IS NULL) <> (version_id IS NULL)", name="subject"),
        CheckConstraint("length(trim(reason)) > 0", name="reason"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    context_id: Mapped[int | None] = mapped_column(ForeignKey("contexts.id"))
    version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    reason: Mapped[str]
    actor: Mapped[str]
    created: Mapped[float]
    released: Mapped[float | None]

    context: Mapped[ExecutionContext | None] = relationship()
    version: Mapped[ModelVersion | None] = relationship()


class Reproduction(Base):
    """A version was made again from its snapshot.

    ``stage`` is the first that differs and ``cause`` what differs there; ``commit_sha`` is the snapshot that was run.
    """

    __tablename__ = "reproductions"
    __table_args__ = (
        CheckConstraint("verdict IN ('bit-identical', 'equivalent', 'diverged', 'failed')", name="verdict"),
        Index(None, "version_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    verdict: Mapped[str] = mapped_column(String(20))
    stage: Mapped[str | None] = mapped_column(String(100))
    cause: Mapped[str | None]
    details: Mapped[dict[str, Any]]
    actor: Mapped[str]
    commit_sha: Mapped[str | None] = mapped_column(String(64))
    environment: Mapped[dict[str, Any]]
    created: Mapped[float]

    version: Mapped[ModelVersion] = relationship()
