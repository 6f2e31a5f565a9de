"""Kept answers with what people said of them, consent and an end to votes, and records of deletions."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("votes", sa.Column("consent", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("votes", sa.Column("expires", sa.Float(), nullable=True))
    op.create_table(
        "answers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("conversation", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=100), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("consent", sa.Boolean(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.Column("thumb", sa.String(length=4), nullable=True),
        sa.Column("stars", sa.Integer(), nullable=True),
        sa.Column("edit", sa.Text(), nullable=True),
        sa.Column("rated", sa.Float(), nullable=True),
        sa.CheckConstraint("thumb IN ('up', 'down')", name=op.f("ck_answers_thumb")),
        sa.CheckConstraint("stars BETWEEN 1 AND 5", name=op.f("ck_answers_stars")),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name=op.f("fk_answers_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_answers")),
        sa.UniqueConstraint("name", name=op.f("uq_answers_name")),
    )
    for column in ("conversation", "person", "expires"):
        op.create_index(op.f(f"ix_answers_{column}"), "answers", [column])
    op.create_table(
        "deletions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deletions")),
    )
