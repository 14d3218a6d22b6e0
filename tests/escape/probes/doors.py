"""What do the doors let through, and what do they give away?

Groups: `tunnel` for any session, `model` for one whose model door is open. They speak plain HTTP from sockets of their
own, since a library would put right what must be wrong.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator

from registry import Given, findings, probe, together

TUNNEL, MODEL = 328, 810
WAIT_S = 1.5
PLACEHOLDER = os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("ANTHROPIC_AUTH_TOKEN") or "none"
DENIED = "400 403 404 405 411 413 414 415 417 431 501 505"


def _ask(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as door:
        door.sendall(request)
        answer = b""
        try:
            while len(answer) < 64 << 10 and (piece := door.recv(4096)):
                answer += piece
                if b"\r\n\r\n" in answer:
                    break
        except (TimeoutError, ConnectionResetError):
            return answer or b"HTTP/1.1 silence"
    return answer or b"HTTP/1.1 closed"


def _status(answer: bytes) -> str:
    words = answer.split(b"\r\n", 1)[0].split()
    return words[1].decode(errors="replace") if len(words) > 1 else "nonsense"


def _connect(target: str, extra: str = "") -> str:
    return _status(
        _ask(TUNNEL, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{extra}\r\n".encode("utf-8", "surrogateescape"))
    )


def _post(
    body: object, *, path: str = "/v1/messages", headers: dict[str, str] | None = None, raw: bytes | None = None
) -> bytes:
    content = raw if raw is not None else json.dumps(body).encode()
    sent = {
        "Host": f"127.0.0.1:{MODEL}", "Content-Type": "application/json", "Content-Length": str(len(content)),
        "anthropic-version": "2023-06-01", "x-api-key": PLACEHOLDER, "Connection": "close",
    } | (headers or {})  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value != "")
    return _ask(MODEL, f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content)


def _message(**more: object) -> dict[str, object]:
    return {"model": "claude-sonnet-4-5", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]} | more


@probe("tunnel-denied-host", expects="403", group="tunnel")
def tunnel_denied_host(given: Given) -> str:
    hosts = (given.denied_host, "api.anthropic.com", "statsig.anthropic.com", "github.com")
    return together({host: _connect(f"{host}:443") for host in hosts})


@probe("tunnel-addresses", expects="400 403", group="tunnel")
def tunnel_addresses(given: Given) -> str:
    hosts = (
        "127.0.0.1", "0.0.0.0", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]",
        "localhost",
        "localhost.", "[::]", "10.0.0.1", "172.17.0.1", "192.168.0.1", "100.64.0.1", "[fe80::1]", "[fd00::1]",
        "224.0.0.1",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "\u2460\u2461\u2466.0.0.1", "metadata.google.internal",
        "host.docker.internal",
    )  # fmt: skip
    lab = [f"[{each}]" if ":" in each else each for each in (*given.lab_hosts, given.lab_metadata) if each]
    return together({host: _connect(f"{host}:443") for host in (*hosts, *lab)})


@probe("tunnel-ports", expects="400 403", group="tunnel")
def tunnel_ports(given: Given) -> str:
    return together(
        {
            port: _connect(f"api.anthropic.com:{port}")
            for port in ("22", "25", "80", "8443", "0", "65536", "-1", "443x", "")
        }
    )


@probe("tunnel-spellings", expects="400 403", group="tunnel")
def tunnel_spellings(given: Given) -> str:
    names = (
        "api.anthropic.com.evil.example", "evilanthropic.com", "api.anthropic.com@evil.example",
        "evil.example#.anthropic.com",
        "evil.example/.anthropic.com", "evil.example\\.anthropic.com", "evil.example%00.anthropic.com",
        "evil.example\x00.anthropic.com",
        "evil.example\t.anthropic.com", "..anthropic.com", "a" * 300 + ".anthropic.com",
    )  # fmt: skip
    return together({name[:40].encode("unicode_escape").decode(): _connect(f"{name}:443") for name in names})


@probe("tunnel-plain-requests", expects=DENIED, group="tunnel")
def tunnel_plain_requests(given: Given) -> str:
    lines = (
        "GET http://denied.example.com/ HTTP/1.1\r\nHost: denied.example.com",
        "GET / HTTP/1.1\r\nHost: denied.example.com",
        "POST http://127.0.0.1:810/v1/messages HTTP/1.1\r\nHost: 127.0.0.1",
        "OPTIONS * HTTP/1.1\r\nHost: denied.example.com",
        "GET http://localhost/v1/sessions HTTP/1.1\r\nHost: localhost",
        "CONNECT denied.example.com:443 HTTP/0.9\r\nHost: x",
        "CONNECT /run/docker.sock HTTP/1.1\r\nHost: x", "CONNECT unix:/run/docker.sock:1 HTTP/1.1\r\nHost: x",
    )  # fmt: skip
    return together(
        {each.partition(chr(13))[0][:40]: _status(_ask(TUNNEL, f"{each}\r\n\r\n".encode())) for each in lines}
    )


@probe("tunnel-smuggling", expects=DENIED + " closed", group="tunnel")
def tunnel_smuggling(given: Given) -> str:
    extras = (
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "Host: api.anthropic.com\r\n", "X: a\r\n b\r\n",
        "X\x00: a\r\n",
        "Proxy-Authorization: Basic eDp5\r\n", "X-EleAgent-Id: s-aaaaaaaaaa\r\n", "Forwarded: for=127.0.0.1\r\n",
    )  # fmt: skip
    return together(
        {
            each.partition(":")[0].strip("\0") + str(len(each)): _connect("denied.example.com:443", each)
            for each in extras
        }
    )


@probe("tunnel-flood", expects="answered", group="tunnel")
def tunnel_flood(given: Given) -> str:
    """Connections that say nothing must not keep the door from those that speak, for longer than a moment."""
    held = []
    for _ in range(40):
        each = socket.socket()
        each.setblocking(False)
        each.connect_ex(("127.0.0.1", TUNNEL))
        held.append(each)
    status = _connect("denied.example.com:443")
    return "answered" if status == "403" else f"blocked: {status}"


@probe("model-foreign-key", expects="403", group="model")
def model_foreign_key(given: Given) -> str:
    foreign = "sk-ant-api03-" + "a" * 95
    return together({
        "x-api-key": _status(_post(_message(), headers={"x-api-key": foreign})),
        "bearer": _status(_post(_message(), headers={"x-api-key": "", "Authorization": f"Bearer {foreign}"})),
        "both": _status(_post(_message(), headers={"Authorization": f"Bearer {foreign}"})),
        "case": _status(_post(_message(), headers={"X-Api-KEY": foreign})),
        "oauth": _status(_post(_message(), headers={"x-api-key": "",
        "Authorization": "Bearer sk-ant-oat01-" + "b" * 90})),
        "cookie": _status(_post(_message(), headers={"Cookie": f"sessionKey={foreign}"})),
    })  # fmt: skip


WAYS_OUT: dict[str, dict[str, object]] = {
    "mcp-servers": {"mcp_servers": [{"type": "url", "url": "https://evil.example", "name": "x"}]},
    "web-search": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    "web-fetch": {"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]},
    "code-execution": {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]},
    "mcp-toolset": {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]},
    "container": {"container": {"skills": [{"type": "custom", "skill_id": "x", "version": "latest"}]}},
}
SOURCES = {"image": "image", "document": "document"}


@probe("model-ways-out", expects="403 400", group="model")
def model_ways_out(given: Given) -> str:
    return together({name: _status(_post(_message(**parts))) for name, parts in WAYS_OUT.items()})


@probe("model-url-sources", expects="403 400", group="model")
def model_url_sources(given: Given) -> str:
    def with_source(kind: str, source: dict[str, str], nested: bool) -> str:
        part: dict[str, object] = {"type": kind, "source": source}
        if nested:
            part = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [part]}
        return _status(_post(_message(messages=[{"role": "user", "content": [part]}])))

    url, file = {"type": "url", "url": "https://evil.example/?secret"}, {"type": "file", "file_id": "file_1"}
    return together({
        f"{kind}-{source['type']}{'-nested' * nested}": with_source(kind, source, nested)
        for kind in SOURCES for source in (url, file) for nested in (False, True)
    })  # fmt: skip


@probe("model-other-paths", expects="403 404 405", group="model")
def model_other_paths(given: Given) -> str:
    paths = (
        "/v1/files", "/v1/messages/batches", "/v1/organizations/me", "/v1/skills",
        "/api/oauth/claude_cli/create_api_key", "/v1/complete",
        "/v1/messages/../files", "/v1/messages%2f..%2ffiles", "//evil.example/v1/messages",
        "http://evil.example/v1/messages",
        "/v1/environments", "/v1/sessions",
    )  # fmt: skip
    return together({path: _status(_post(_message(), path=path)) for path in paths})


@probe("model-crooked-bodies", expects="400 403 413 415", group="model")
def model_crooked_bodies(given: Given) -> str:
    plain = json.dumps(_message()).encode()
    twice = plain[:-1] + b',"tools":[],"tools":[{"type":"web_search_20250305","name":"web_search"}]}'
    return together({
        "duplicate-key": _status(_post(None, raw=twice)),
        "trailing": _status(_post(None, raw=plain + b'{"mcp_servers":[]}')),
        "not-utf-8": _status(_post(None, raw=plain.replace(b"hi", b"\xff\xfe"))),
        "not-json": _status(_post(None, raw=b"nothing")),
        "list": _status(_post(None, raw=b"[" + plain + b"]")),
        "gzip": _status(_post(None, raw=plain, headers={"Content-Encoding": "gzip"})),
        "deep": _status(_post(None, raw=b'{"messages":' + b"[" * 50000 + b"]" * 50000 + b"}")),
    })  # fmt: skip


@probe("model-smuggling", expects="400 403 501 closed", group="model")
def model_smuggling(given: Given) -> str:
    second = b"POST /v1/files HTTP/1.1\r\nHost: x\r\n\r\n"
    two_hosts = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}"
    connect = b"CONNECT denied.example.com:443 HTTP/1.1\r\nHost: denied.example.com:443\r\n\r\n"
    return together({
        "length-and-chunks": _status(_post(None, raw=b"0\r\n\r\n" + second, headers={"Transfer-Encoding": "chunked"})),
        "two-hosts": _status(_ask(MODEL, two_hosts)),
        "connect": _status(_ask(MODEL, connect)),
    })  # fmt: skip


def _answers(given: Given) -> Iterator[bytes]:
    for port in given.open_doors:
        for request in (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"TRACE / HTTP/1.1\r\nHost: x\r\nx-api-key: mine\r\n\r\n",
            b"\0\r\n\r\n",
        ):
            yield _ask(port, request)
    if MODEL in given.open_doors:
        yield _post(_message())
        yield _post(_message(stream=True))


@probe("answers-hold-no-key", expects="none", group="tunnel")
def answers_hold_no_key(given: Given) -> str:
    words = given.canary_words()
    return findings(answer[:60] for answer in _answers(given) for word in words if word in answer)


@probe("model-plain", expects="200", group="control")
def model_plain(given: Given) -> str:
    """What the door is for."""
    return _status(_post(_message()))
