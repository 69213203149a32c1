"""Alembic's environment and the versions of the schema, carried inside the package."""
