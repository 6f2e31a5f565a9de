"""How it was chosen what people were asked, and what commands asked of judging models."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for table in ("votes", "answers"):
        op.add_column(table, sa.Column("chosen", sa.String(length=20), server_default="person", nullable=False))
        op.add_column(table, sa.Column("selection", sa.JSON(), nullable=True))
        op.create_index(op.f(f"ix_{table}_chosen"), table, ["chosen"])
    op.create_table(
        "judgings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("command", sa.String(length=40), nullable=False),
        sa.Column("judge", sa.String(length=200), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judgings")),
    )
    op.create_table(
        "judged_models",
        sa.Column("judging_id", sa.Integer(), nullable=False),
        sa.Column("artifact_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["judging_id"], ["judgings.id"], name=op.f("fk_judged_models_judging_id")),
        sa.ForeignKeyConstraint(["artifact_id"], ["artifacts.id"], name=op.f("fk_judged_models_artifact_id")),
        sa.PrimaryKeyConstraint("judging_id", "artifact_id", name=op.f("pk_judged_models")),
    )
    op.create_index(op.f("ix_judged_models_artifact_id"), "judged_models", ["artifact_id"])
