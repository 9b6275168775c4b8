"""Backups of the store: copies of SQLite, base backups of PostgreSQL with the log (WAL) that follows on them."""
