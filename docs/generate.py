"""Which pages of the documentation are made from tables in the code? `make docs` writes them; a test compares them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eleagent.permissions import Permission, Role
from eleagent.roles import DESCRIPTIONS, KEY_GROUPS, ROLES, SESSION_TOKEN
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


ROLES_TEXT = """# Roles and keys

Every operation of the API needs one permission. A role's row says how far it goes: **own** is what the caller started or made; **project** also what others share with a project that the caller is a member of (unless it is private); **any** is everybody's. What is not in a role's column the role may not. What one may not see is not there: it is answered like what never was.

- **owner**: everything. Root and the daemon's own account are owners on the server's socket, whatever happens to the others.
- **admin**: projects, agents, sessions, keys and data of all; reads members, changes none.
- **member**: own projects, sessions and keys.
- **agent**: for machines alone, never for a person.
- **session**: no role, but what a session may do with itself, by the token in its sandbox ([inside.md](inside.md)).

Who drives a session that was handed over interrupts, pauses and stops it like its owner, and answers what its agent asks in the conversation (its tools' questions and those in its own words), once at a time. Questions at walls and limits, standing grants, its limits and its removal stay with the owner and administrators.

Reading what somebody else's session said or made, beyond what is shared, takes a reason (`--because TEXT`; `reason` in the request), which is in the audit log and which the owner sees in `eleagent session show`.

Adding or removing users, changing a role, setting a password, making a key and replacing the signing keys take, over the network, a password that was given in the last five minutes. No API key can do them.
"""
KEYS_TEXT = """
## Groups of API keys

`eleagent key create NOTE --group GROUP`. A key may at each moment what its scopes **and** its maker's role allow. Scopes of a group are own and shared, never everybody's; of single scopes (`--scope session:read@any`) only what the maker may. A key always expires, and can be bound to projects, agents, networks, a number of live sessions and money a day. One that is bound to agents lets sessions of those alone work: it starts, drives and answers no other. One that is bound to money a day drives only what it has started, since only that is counted to it. Past a limit of the day no key lets a session go on, whoever made it: an administrator does, in person.
"""


def roles() -> str:
    rows = [
        f"| `{permission}` | {DESCRIPTIONS[permission]} | "
        + " | ".join(str(ROLES[role][permission]) if permission in ROLES[role] else "-" for role in Role)
        + f" | {'itself' if permission in SESSION_TOKEN else '-'} |"
        for permission in Permission
    ]
    groups = [
        f"| `{permission}` | " + " | ".join("x" if permission in held else "-" for held in KEY_GROUPS.values()) + " |"
        for permission in Permission
        if any(permission in held for held in KEY_GROUPS.values())
    ]
    return "\n".join(
        [
            ROLES_TEXT,
            f"| Permission | Lets one | {' | '.join(Role)} | session |",
            "|---|---|" + "---|" * (len(Role) + 1),
            *rows,
            KEYS_TEXT,
            f"| Permission | {' | '.join(f'`{group}`' for group in KEY_GROUPS)} |",
            "|---|" + "---|" * len(KEY_GROUPS),
            *groups,
            "",
        ]
    )


PAGES: dict[str, Callable[[], str]] = {"audit.md": audit, "roles.md": roles, "states.md": states}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
