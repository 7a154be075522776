"""Which device can be used, tried out for real: `python -m tunery.host.probe DEVICE` prints one JSON object.

A process of its own, so that neither torch nor a CUDA context stays in the processes that ask.
"""

import json
import sys

import torch

_SIZE = 64


def probe(wanted: str) -> dict[str, str | None]:
    """`device` is what to use, `reason` why the wanted device (or, for auto, a faster one) is not; either may be None.

    A device counts as usable when a small product of matrices on it comes out right.
    """
    if wanted != "auto":
        reason = why_not(wanted)
        return {"device": wanted if reason is None else None, "reason": reason}
    reasons = []
    for candidate in ("cuda:0", "mps"):
        reason = why_not(candidate)
        if reason is None:
            return {"device": candidate, "reason": None}
        if _is_present(candidate):
            reasons.append(f"{candidate}: {reason}")
    return {"device": "cpu", "reason": "; ".join(reasons) or None}


def why_not(device: str) -> str | None:
    """One line on why the device cannot be used, or None when it can."""
    try:
        ones = torch.ones(_SIZE, _SIZE, device=device)
        return None if (ones @ ones).sum().item() == _SIZE**3 else "it computes wrong results"
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return str(error).strip().splitlines()[0]


def _is_present(device: str) -> bool:
    return torch.backends.mps.is_built() if device == "mps" else torch.cuda.device_count() > 0


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(sys.argv[1])))
