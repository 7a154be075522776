"""Chat without torch: requests to tokens, tokens from an engine elsewhere, tokens to answers and streams."""
