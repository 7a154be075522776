"""Models on the wire, and the grammar of their names."""

import re
from typing import Any


def model_object(model_id: str, *, created: int, owned_by: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": created, "owned_by": owned_by}


def model_deleted(model_id: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "deleted": True}


def tuned_name(base: str, *, organization: str, suffix: str | None, unique: str, step: int | None = None) -> str:
    """`ft:base:organization:suffix:unique`, with `:ckpt-step-N` for all but a job's last checkpoint.

    Of the suffix only what may stand in a name and in a path is kept; the job shows it as it was given.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", suffix or "")
    name = f"ft:{base}:{organization}:{slug}:{unique}"
    return name if step is None else f"{name}:ckpt-step-{step}"
