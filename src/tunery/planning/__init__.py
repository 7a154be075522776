"""Turns a request into numbers: what `auto` means here, how fast to learn, what fits where. Free of torch."""
