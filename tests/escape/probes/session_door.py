"""What does a session's own door give to whom it is not for? Group `own`, for a session in a daemon."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

from registry import Given, probe, together

URL = os.environ.get("ELEAGENT_SESSION_URL", "http://127.0.0.1:767")
TOKEN = os.environ.get("ELEAGENT_SESSION_TOKEN", "")
OWN = (
    ("GET", "/v1/session"), ("POST", "/v1/session/reports"), ("POST", "/v1/session/approvals"),
    ("GET", "/v1/session/approvals/a-aaaaaaaaaa"), ("POST", "/v1/session/end"),
)  # fmt: skip
PROXYLESS = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(method: str, path: str, token: str, port: int = 0) -> str:
    url = f"http://127.0.0.1:{port}" if port else URL
    named = "subject" if path.endswith("approvals") else "text"
    body = json.dumps({named: "forged"}).encode() if method == "POST" else None
    request = urllib.request.Request(url + path, body, method=method, headers={"Authorization": f"Bearer {token}"})
    try:
        with PROXYLESS.open(request, timeout=2) as answer:
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError:
        return "closed"


@probe("own-door-stolen-token", expects="401", group="own")
def own_door_stolen_token(given: Given) -> str:
    return together({f"{method} {path}": ask(method, path, given.stolen_token) for method, path in OWN})


@probe("own-door-no-token", expects="401", group="own")
def own_door_no_token(given: Given) -> str:
    tokens = ("", "x", TOKEN[:-1], TOKEN[::-1], TOKEN.swapcase())
    return together({f"{one[:6]}{len(one)}": ask("GET", "/v1/session", one) for one in tokens})


@probe("own-door-api", expects="404", group="own")
def own_door_api(given: Given) -> str:
    paths = (
        "/v1/sessions", f"/v1/sessions/{given.neighbour}", f"/v1/sessions/{given.neighbour}/events", "/v1/users",
        "/v1/approvals", "/v1/whoami", "/v1/status", "/v1/session/../sessions", "/v1/session/approvals/../../users",
    )  # fmt: skip
    asked = [("GET", path) for path in paths] + [("POST", "/v1/sessions"), ("POST", "/v1/keys"),
             ("POST", f"/v1/sessions/{given.neighbour}/stop"), ("DELETE", "/v1/session")]  # fmt: skip
    return together({f"{method} {path}": ask(method, path, TOKEN) for method, path in asked})


@probe("own-token-at-other-doors", expects="400 403 404 405", group="own")
def own_token_at_other_doors(given: Given) -> str:
    return together({f"{port} {path}": ask("GET", path, TOKEN, port) for port in (328, 810) for _, path in OWN[:2]})


@probe("own-door-plain", expects="200 202", group="control")
def own_door_plain(given: Given) -> str:
    """What the door is for."""
    return together({path: ask(method, path, TOKEN) for method, path in OWN[:2]})
