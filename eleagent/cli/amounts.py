"""How does an amount read to a person: a size, an age?"""

from __future__ import annotations

from datetime import datetime


def human_size(size_bytes: int) -> str:
    """12 B, 3.4 kB, 5.6 MB."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def age(created: str, now: datetime) -> str:
    """How long ago: 12s, 3m, 5h, 2d."""
    seconds = int((now - datetime.fromisoformat(created)).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"
