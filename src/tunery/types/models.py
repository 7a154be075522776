"""Models on the wire, and the grammar of their names."""

from typing import Any


def model_object(model_id: str, *, created: int, owned_by: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": created, "owned_by": owned_by}


def model_deleted(model_id: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "deleted": True}


def tuned_name(base: str, *, organization: str, suffix: str | None, unique: str, step: int | None = None) -> str:
    """`ft:base:organization:suffix:unique`, with `:ckpt-step-N` for all but a job's last checkpoint."""
    name = f"ft:{base}:{organization}:{suffix or ''}:{unique}"
    return name if step is None else f"{name}:ckpt-step-{step}"
