"""What would the provider answer? A stub that keeps what it was sent, made from the documented shapes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Provider:
    """`key` is the only one that it takes. `seen` are headers and bodies of all requests."""

    port: int
    key: str
    seen: list[tuple[dict[str, str], Any]] = field(default_factory=list)


def _sse(text: str) -> Iterator[bytes]:
    usage = {"input_tokens": 11, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "stub", "content": [], "usage": usage}
    steps: list[dict[str, Any]] = [
        {"type": "message_start", "message": message | {"stop_reason": None, "stop_sequence": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 7},
        },
        {"type": "message_stop"},
    ]
    for step in steps:
        yield f"event: {step['type']}\ndata: {json.dumps(step)}\n\n".encode()


@contextmanager
def provider(key: str) -> Iterator[Provider]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.seen.append(({name.lower(): value for name, value in self.headers.items()}, body))
            if self.headers.get("x-api-key") != made.key:
                error = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
                self._answer(401, "application/json", [json.dumps(error).encode()])
            else:
                self._answer(200, "text/event-stream", _sse("Hello from the stub."))

        def _answer(self, status: int, kind: str, parts: Any) -> None:
            data = b"".join(parts)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Provider(port=server.server_address[1], key=key)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
