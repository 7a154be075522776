"""Alembic's folder: one file per change of the schema, oldest first. `upgrade` in store.upgrade runs them."""
