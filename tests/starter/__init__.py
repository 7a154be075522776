"""Tests of the packaged starter model and of the scripts that make it."""
