"""Torch's composition root: one base on one device, for training, serving or both. Only `__main__` imports torch."""
