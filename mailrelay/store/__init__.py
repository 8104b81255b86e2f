"""PostgreSQL: rows in, facts out."""
