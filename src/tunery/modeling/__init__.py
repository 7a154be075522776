"""Base models and adapters as plain tensors: loaded without importing transformers, run by training and inference."""
