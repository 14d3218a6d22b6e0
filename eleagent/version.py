"""Which version is this, and may two versions talk to each other?"""

from eleagent.errors import VersionSkew

__version__ = "0.1.0"

VERSION_HEADER = "X-EleAgent-Version"


def check_skew(mine: str, theirs: str | None, *, side: str) -> None:
    """Raise VersionSkew unless `theirs` is at most one minor version away from `mine` with the same major.

    `side` names the other end for the message ("client" or "daemon").
    """
    if theirs is None:
        raise VersionSkew(
            f"the {side} does not say its version; this end is {mine}: use an eleagent client", field=side
        )
    try:
        mine_major, mine_minor = (int(part) for part in mine.split(".")[:2])
        their_major, their_minor = (int(part) for part in theirs.split(".")[:2])
    except ValueError:
        raise VersionSkew(f"the {side} says version {theirs!r}, which is no version; this end is {mine}") from None
    if mine_major != their_major or abs(mine_minor - their_minor) > 1:
        raise VersionSkew(
            f"the {side} is version {theirs} and this end is {mine}: they may be one minor version apart; "
            "upgrade the older"
        )
