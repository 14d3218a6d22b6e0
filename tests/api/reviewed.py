"""Who may do what to whose, by the reviewed file alone? It is read here without a look at the code that it judges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).parent / "data" / "authorisation.txt"
FAR: Final = {
    "own": {"own"},
    "driven": {"own", "driven"},
    "shared": {"own", "driven", "shared"},
    "all": {"own", "driven", "shared", "foreign"},
    "-": set[str](),
}
KEYS: Final = frozenset({"ci_cd", "agent_execution", "read_only"})
SAME: Final = {"stale": "owner", "demoted": "member"}
"""Principals that are another one in some state."""
ANYBODY: Final = "become somebody"


@dataclass(frozen=True)
class Rule:
    """What one operation takes; `to` is `-` where it is done to nothing that belongs to somebody."""

    operation: str
    to: str
    may: str
    takes: str = ""


@dataclass(frozen=True)
class Review:
    rights: dict[str, dict[str, str]]
    seen_by: dict[str, str]
    rules: dict[str, Rule]

    def expected(self, operation: str, principal: str, thing: str) -> str:
        """`ok` where the handler is reached, else the status, or `up` for a password that must be given again. `thing`
        is `own`, `driven`, `shared`, `foreign` or `missing`, `-` for an operation on nothing.
        """
        rule = self.rules[operation]
        if rule.may == ANYBODY:
            return "ok"
        who = SAME.get(principal, principal)
        if who not in self.rights[ANYBODY]:
            return "401"
        far = FAR[self.rights[rule.may][who]]
        if not far or rule.takes == "here" or (rule.takes == "fresh" and principal in KEYS):
            return "403"
        if rule.takes == "fresh" and principal == "stale":
            return "up"
        if rule.to == "-":
            return "ok"
        if thing not in FAR[self.rights[self.seen_by[rule.to]][who]]:
            return "404"
        if thing not in far or (rule.takes == "because" and thing == "foreign"):
            return "403"
        return "ok"


@cache
def review() -> Review:
    rights, seen_by, rules = dict[str, dict[str, str]](), dict[str, str](), dict[str, Rule]()
    columns: list[str] = []
    for line in FILE.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        first, *rest = re.split(r"\s{2,}", line.strip())
        if first in ("RIGHT", "THING", "OPERATION"):
            columns = [first, *rest]
        elif columns[0] == "RIGHT":
            rights[first] = dict(zip(columns[1:], rest, strict=True))
        elif columns[0] == "THING":
            (seen_by[first],) = rest
        else:
            assert first not in rules, f"{first} is there twice"
            rules[first] = Rule(first, *rest)
    return Review(rights, seen_by, rules)
