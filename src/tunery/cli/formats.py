"""Numbers and times as people read them: pure functions."""

import time

UNITS = ("kB", "MB", "GB", "TB")
_STEERING = dict.fromkeys(code for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t")


def size(count_bytes: int) -> str:
    """`812 B`, `12.3 kB`, `1.5 GB` (powers of 1000)."""
    if count_bytes < 1000:
        return f"{count_bytes} B"
    value = float(count_bytes)
    for unit in UNITS:
        value /= 1000
        if value < 999.95 or unit == UNITS[-1]:
            break
    return f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """`0:08`, `12:30`, `1:02:03`; nothing below zero."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def age(at: int, *, now: float) -> str:
    """How long ago a Unix time was: `now`, `5 min ago`, `3 h ago`, `2 days ago`, then the date."""
    seconds = now - at
    if seconds < 60:
        return "now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)} h ago"
    if seconds < 14 * 24 * 3600:
        return f"{int(seconds // (24 * 3600))} days ago"
    return time.strftime("%Y-%m-%d", time.localtime(at))


def moment(at: int) -> str:
    """A Unix time as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def clock(at: int) -> str:
    """A Unix time as local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def printable(text: str) -> str:
    """The text without the control characters that could steer a terminal; line breaks and tabs stay."""
    return text.translate(_STEERING)
