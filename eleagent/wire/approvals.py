"""What is an approval, how is one answered, and what is a standing grant?"""

from __future__ import annotations

from enum import StrEnum

import msgspec

COMMENT_LIMIT = 4096
"""Characters of a comment."""


class ApprovalKind(StrEnum):
    """What is asked for. HOST, CREDENTIAL and BUDGET are walls: enforced outside the sandbox, so that nothing in it can
    answer. TOOL is the agent's own question before it uses one, REQUEST one that it puts in its own words.
    """

    HOST = "host"
    CREDENTIAL = "credential"
    BUDGET = "budget"
    TOOL = "tool"
    REQUEST = "request"

    @property
    def wall(self) -> bool:
        return self not in (ApprovalKind.TOOL, ApprovalKind.REQUEST)

    @property
    def piped(self) -> bool:
        """Whether the answer goes to the agent through its own pipes; else it is fetched at a door."""
        return self is ApprovalKind.TOOL

    @property
    def grantable(self) -> bool:
        """Whether it can be allowed for always. A budget can't: that is another budget; nor can an agent's own words,
        which mean what it likes.
        """
        return self not in (ApprovalKind.BUDGET, ApprovalKind.REQUEST)


class ApprovalState(StrEnum):
    """OPEN is the only one that an answer moves. WITHDRAWN: the agent asks no longer, or its session has ended."""

    OPEN = "open"
    ALLOWED = "allowed"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Delivery(StrEnum):
    """Whether the answer got where it has to be. UNKNOWN: the session went on or ended before that could be seen."""

    NONE = "none"
    PENDING = "pending"
    DELIVERED = "delivered"
    UNKNOWN = "unknown"


class Deciding(StrEnum):
    """What closed a question: a person, a standing grant, its expiry, or that nobody was there to be asked."""

    PERSON = "person"
    GRANT = "grant"
    EXPIRY = "expiry"
    UNATTENDED = "unattended"


class ApprovalMode(StrEnum):
    """What a session does with its questions: deny each at once, wait for ever, or wait as long as its policy says."""

    POLICY = "policy"
    DENY = "deny"
    WAIT = "wait"


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A durable question to a person, bound to whose session, which agent and policy, and the exact parameters.

    `subject` is the host and port, the credential, the limit, the tool or the agent's own words; `parameters` are a
    tool's whole input as JSON text (left out of lists). `why` is what led to the question. `expires` is RFC 3339, None
    for never. `grant` names the standing grant that answered it or that its answer made.
    """

    id: str
    session: str
    owner: str
    agent: str
    policy: str
    kind: ApprovalKind
    subject: str
    parameters: str = ""
    why: str = ""
    state: ApprovalState = ApprovalState.OPEN
    asked: str = ""
    expires: str | None = None
    answered: str | None = None
    by_user: str = ""
    comment: str = ""
    decided_by: Deciding | None = None
    grant: str = ""
    delivery: Delivery = Delivery.NONE


class ApprovalList(msgspec.Struct, frozen=True):
    approvals: list[Approval]


class ApprovalAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`always` makes a standing grant of exactly this: this host and port, or this tool with these parameters, for this
    owner's sessions of this agent under this policy.
    """

    allow: bool
    always: bool = False
    comment: str = ""

    @property
    def takes_away(self) -> bool:
        """A denial works even when the audit log can't be written."""
        return not self.allow


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A standing yes, made by an answer with `always`. `approval` is the question that it came from."""

    id: str
    owner: str
    agent: str
    policy: str
    kind: ApprovalKind
    subject: str
    parameters: str = ""
    approval: str = ""
    by_user: str = ""
    created: str = ""
    comment: str = ""
    revoked: str | None = None
    revoked_by: str = ""


class GrantList(msgspec.Struct, frozen=True):
    grants: list[Grant]
