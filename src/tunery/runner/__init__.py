"""A queued job becomes a finished one: claim, prepare, place, record; repeat. Free of torch."""
