"""Sealed hours are packed. The hub packs those of an older schema while it runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables and columns; this takes no longer on a full database than on an empty one."""
    if op.get_bind().dialect.name == "postgresql":  # SQLite does not enforce them any more
        for column in ("conditions", "names"):
            constraint = f"measurements_{column}_fkey"
            op.execute(f"ALTER TABLE measurements DROP CONSTRAINT IF EXISTS {constraint}")
    op.add_column("measurements", sa.Column("own_conditions", sa.Text()))
    op.add_column("measurements", sa.Column("round_trips", sa.Text()))
    op.add_column("chunks", sa.Column("packed", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "packed_series",
        sa.Column("number", _KEY, autoincrement=True, nullable=False),
        sa.Column("link", sa.BigInteger(), nullable=False),
        sa.Column("office", sa.String(length=200), nullable=False),
        sa.Column("probe", sa.String(length=200), nullable=False),
        sa.Column("path", sa.String(length=200), nullable=False),
        sa.Column("begin", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("shapes", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(
        "packed_series_by_office", "packed_series", ["office", "probe", "path", "begin"]
    )
    op.create_index("packed_series_by_begin", "packed_series", ["begin"])
    op.create_index("packed_series_by_link", "packed_series", ["link"])
    op.create_table(
        "packed_round_trips",
        sa.Column("link", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("begin", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("link"),
    )
