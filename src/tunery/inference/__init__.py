"""The engine: continuous batching with a cache of keys and values and several adapters in one batch."""
