"""Tunery: fine-tuning on your own hardware behind OpenAI's own API."""

__version__ = "0.1.0"
