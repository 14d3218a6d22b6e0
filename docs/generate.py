"""Which pages of the documentation are made from tables in the code? `make docs` writes them; a test compares them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eleagent.wire.states import STATES, Group, State
from eleagent_daemon.domain.lifecycle import MOVES
from eleagent_daemon.store.ledger.kinds import document

FOLDER = Path(__file__).parent


def states() -> str:
    rows = [
        f"| `{state}` | {STATES[state].group} | {STATES[state].exit_codes or '-'} | {STATES[state].meaning} | "
        f"{', '.join(f'`{after}`' for after in State if after in MOVES[state]) or '-'} |"
        for state in State
    ]
    groups = ", ".join(Group)
    return "\n".join(
        [
            "# States of a session",
            "",
            f"Lists show sessions in the groups {groups}. The registry stores no other move than those named here.",
            "",
            "| State | Group | Exit code of `eleagent run` | Meaning | May become |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def audit() -> str:
    """Its table of kinds; the rest is written by hand."""
    text = (FOLDER / "audit.md").read_text(encoding="utf-8")
    before, mark, rest = text.partition("<!-- kinds -->\n")
    return before + mark + document() + "<!-- end of kinds -->" + rest.partition("<!-- end of kinds -->")[2]


PAGES: dict[str, Callable[[], str]] = {"audit.md": audit, "states.md": states}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
