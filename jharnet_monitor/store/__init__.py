"""Where measurements rest: SQLAlchemy Core on SQLite or PostgreSQL."""
