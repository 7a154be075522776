"""HTTP in, HTTP out: OpenAI's surface over the operations."""
