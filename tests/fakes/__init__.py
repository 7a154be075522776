"""Parts that stand behind the same ports as the real ones, for tests that need no torch."""
