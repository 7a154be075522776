"""Bytes at rest outside the database: folders that are complete or not there at all."""
