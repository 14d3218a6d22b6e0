"""What can go wrong, in one tree with three faces: raised in the daemon, problem+json on the wire, one line and an exit
code.

EleAgentError                     500  125
├── BadRequest                    400    2   the input is wrong
│   ├── TooLarge                  413    2   the input is larger than it may be
│   ├── WrongMethod               405    2   nothing of that path is done by that method
│   └── ConfigError                 -    2   a setting is unknown or has a bad value
├── NotFound                      404    2   no such session, artefact, image …
│   └── UnknownAgent              404  127
├── Conflict                      409    2   the state of the thing does not allow it
├── Unauthenticated               401  126   who is calling is not known (any more)
├── Refused                       403  126   identity, policy or isolation says no
│   ├── StepUp                    403  126   it needs a password that was given minutes ago
│   ├── IsolationFailed           403  126   a confinement control was not found in the kernel
│   └── LimitReached              403  123   a budget or another limit is used up
├── Throttled                     429  125   too many attempts; `retry_after_s` says when to come back
├── Unavailable                   503  125   something we stand on is not there
│   ├── EngineUnavailable         503  125   no container engine, or no right to it
│   ├── ImageMissing              503  125   the agent's image was not built
│   ├── LauncherUnavailable       503  125
│   ├── CredentialMissing         503  125   no key for the model
│   ├── StorageUnavailable        503  125   the disk does not take it
│   ├── AuditUnavailable          503  125   the record can't be written, so the action is refused
│   ├── NotInitialized            503  125   nobody has run eleagent init yet
│   └── DaemonUnreachable           -  125   raised by clients only
├── TamperFound                   500  125   a record, a checkpoint or a proof is not what was signed
└── VersionSkew                   426  125
"""

from __future__ import annotations

from typing import Any, ClassVar

PROBLEM_TYPE = "application/problem+json"


class EleAgentError(Exception):
    """Something went wrong that a person can be told about in one line.

    `message` says what was wrong, with what value, and what to do; `fields` are typed details for machines.
    Neither may hold a secret.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 125

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    def to_problem(self) -> dict[str, Any]:
        """RFC 9457 members: type, title, status, detail, and our `code` and `fields`."""
        return {
            "type": f"urn:eleagent:problem:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.status,
            "detail": self.message,
            "code": self.code,
            "fields": self.fields,
        }


class BadRequest(EleAgentError):
    code = "bad_request"
    status = 400
    exit_code = 2


class TooLarge(BadRequest):
    code = "too_large"
    status = 413


class WrongMethod(BadRequest):
    """Field: `allow` are the methods there."""

    code = "wrong_method"
    status = 405


class ConfigError(BadRequest):
    code = "config"


class NotFound(EleAgentError):
    code = "not_found"
    status = 404
    exit_code = 2


class UnknownAgent(NotFound):
    code = "unknown_agent"
    exit_code = 127


class Conflict(EleAgentError):
    code = "conflict"
    status = 409
    exit_code = 2


class Unauthenticated(EleAgentError):
    code = "unauthenticated"
    status = 401
    exit_code = 126


class Refused(EleAgentError):
    code = "refused"
    status = 403
    exit_code = 126


class StepUp(Refused):
    code = "step_up"


class IsolationFailed(Refused):
    code = "isolation_failed"


class LimitReached(Refused):
    """Fields: `limit` is its name (`max_cost_usd`, `user_day_usd` …), `used` and `allowed` are in its unit."""

    code = "limit_reached"
    exit_code = 123

    @property
    def limit(self) -> str:
        return str(self.fields.get("limit", ""))

    @property
    def used(self) -> float:
        return float(self.fields.get("used", 0))

    @property
    def allowed(self) -> float:
        return float(self.fields.get("allowed", 0))


class Throttled(EleAgentError):
    code = "throttled"
    status = 429


class Unavailable(EleAgentError):
    code = "unavailable"
    status = 503


class EngineUnavailable(Unavailable):
    code = "engine_unavailable"


class ImageMissing(Unavailable):
    code = "image_missing"


class LauncherUnavailable(Unavailable):
    code = "launcher_unavailable"


class CredentialMissing(Unavailable):
    code = "credential_missing"


class StorageUnavailable(Unavailable):
    code = "storage_unavailable"


class AuditUnavailable(Unavailable):
    code = "audit_unavailable"


class NotInitialized(Unavailable):
    code = "not_initialized"


class DaemonUnreachable(Unavailable):
    code = "daemon_unreachable"


class TamperFound(EleAgentError):
    code = "tamper_found"


class VersionSkew(EleAgentError):
    code = "version_skew"
    status = 426


def _tree(root: type[EleAgentError]) -> dict[str, type[EleAgentError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


BY_CODE = _tree(EleAgentError)


def from_problem(problem: dict[str, Any]) -> EleAgentError:
    """The exception that a problem+json body stands for; an unknown code becomes a plain EleAgentError."""
    cls = BY_CODE.get(str(problem.get("code")), EleAgentError)
    fields = problem.get("fields")
    return cls(
        str(problem.get("detail") or problem.get("title") or "unknown problem"),
        **(fields if isinstance(fields, dict) else {}),
    )
