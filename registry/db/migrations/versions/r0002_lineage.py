"""Deployments, pins and reproductions; indexes that hold all a walk along the lineage reads."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # Every step of a recursive query reads one of these two and no table.
    op.drop_index("ix_events_artifact_id_direction", table_name="events")
    op.create_index(
        op.f("ix_events_artifact_id_direction_execution_id"), "events", ["artifact_id", "direction", "execution_id"]
    )
    op.create_index(
        op.f("ix_events_execution_id_direction_artifact_id"), "events", ["execution_id", "direction", "artifact_id"]
    )
    op.create_index(op.f("ix_artifacts_name"), "artifacts", ["name"])
    op.create_index(op.f("ix_executions_state_mlflow_run_id"), "executions", ["state", "mlflow_run_id"])
    op.create_index(op.f("ix_model_versions_artifact_id"), "model_versions", ["artifact_id"])
    op.create_index(op.f("ix_model_versions_execution_id"), "model_versions", ["execution_id"])
    op.create_table(
        "deployments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("started", sa.Float(), nullable=False),
        sa.Column("ended", sa.Float(), nullable=True),
        sa.CheckConstraint("state IN ('STARTING', 'SERVING', 'STOPPED', 'FAILED')", name=op.f("ck_deployments_state")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_deployments_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
    )
    op.create_index(op.f("ix_deployments_version_id"), "deployments", ["version_id"])
    op.create_table(
        "pins",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("context_id", sa.Integer(), nullable=True),
        sa.Column("version_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("released", sa.Float(), nullable=True),
        sa.CheckConstraint("(context_id IS NULL) <> (version_id IS NULL)", name=op.f("ck_pins_subject")),
        sa.CheckConstraint("length(trim(reason)) > 0", name=op.f("ck_pins_reason")),
        sa.ForeignKeyConstraint(["context_id"], ["contexts.id"], name=op.f("fk_pins_context_id")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_pins_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pins")),
    )
    op.create_table(
        "reproductions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("stage", sa.String(length=100), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("commit_sha", sa.String(length=64), nullable=True),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.CheckConstraint(
            "verdict IN ('bit-identical', 'equivalent', 'diverged', 'failed')", name=op.f("ck_reproductions_verdict")
        ),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_reproductions_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reproductions")),
    )
    op.create_index(op.f("ix_reproductions_version_id"), "reproductions", ["version_id"])
