"""Votes of the arena: two answers to one question, and which of them a person prefers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "votes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("voter", sa.String(length=100), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("version_a_id", sa.Integer(), nullable=False),
        sa.Column("version_b_id", sa.Integer(), nullable=False),
        sa.Column("answer_a", sa.Text(), nullable=False),
        sa.Column("answer_b", sa.Text(), nullable=False),
        sa.Column("choice", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("choice IN ('a', 'b', 'tie', 'bad')", name=op.f("ck_votes_choice")),
        sa.ForeignKeyConstraint(["version_a_id"], ["model_versions.id"], name=op.f("fk_votes_version_a_id")),
        sa.ForeignKeyConstraint(["version_b_id"], ["model_versions.id"], name=op.f("fk_votes_version_b_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_votes")),
    )
