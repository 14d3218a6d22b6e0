"""How soon does Claude speak, through EleAgent and bare, with the same scripted model?"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web
from warm import ELEAGENT, Warm, paired

from eleagent_daemon.gateway.script import ScriptUpstream, parse_script
from eleagent_daemon.gateway.upstream import Call
from eleagent_daemon.sessions.claude import ClaudeAdapter

SCRIPT = '[[step]]\ntext = "Done."\n'
PROMPT = "Say that you are done."
UID = 10001
ROUNDS = 7


def first_event_ratio(warm: Warm) -> tuple[float, str]:
    """From the start of the process to `agent.ready`, and to the line (`system/init`) that it is made from."""
    with tempfile.TemporaryDirectory(prefix="eleagent-bench-", dir="/var/tmp") as folder, model_server() as url:
        scratch = Path(folder)
        scratch.chmod(0o711)
        script = scratch / "script.toml"
        script.write_text(SCRIPT)
        run = [ELEAGENT, "run", "--json", "--model-script", str(script), PROMPT]
        binary = shutil.copy(bundled(), scratch / "claude")
        return paired(lambda: through_eleagent(run), lambda: bare(binary, scratch, url), rounds=ROUNDS)


def bundled() -> Path:
    """The binary that the extra `claude` brings. Raises SystemExit without it."""
    found = importlib.util.find_spec("claude_agent_sdk")
    if found is None or found.origin is None:
        raise SystemExit("bench: the extra eleagent[claude] is not installed: make venv")
    return Path(found.origin).with_name("_bundled") / "claude"


def through_eleagent(command: Sequence[str]) -> float:
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout
        took = None
        for line in process.stdout:
            if took is None and json.loads(line).get("type") == "agent.ready":
                took = time.perf_counter() - begin
    if took is None or process.returncode:
        raise SystemExit(f"bench: Claude did not come up through EleAgent (exit {process.returncode})")
    return took


def bare(binary: Path, scratch: Path, url: str) -> float:
    """The CLI as the sandbox starts it, same user, same words, without a sandbox."""
    session = f"bench-{secrets.token_hex(4)}"
    adapter = ClaudeAdapter(session=session, model=None, ask=False, env={})
    launch = adapter.launch()
    home = scratch / session
    home.mkdir()
    os.chown(home, UID, UID)
    env = {name: value for name, value in launch.env.items() if not name.lower().endswith("_proxy")}
    env |= {"HOME": str(home), "TMPDIR": str(home), "BUN_TMPDIR": str(home), "ANTHROPIC_BASE_URL": url}
    begin = time.perf_counter()
    with subprocess.Popen(
        [binary, *launch.argv[1:]], env=env, cwd=home, user=UID, group=UID, extra_groups=[],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        for send in (*adapter.unread(), adapter.say(PROMPT, message=f"{session}-1")):
            process.stdin.write(send.data)
        process.stdin.flush()
        took = next(
            (time.perf_counter() - begin for line in process.stdout if json.loads(line).get("subtype") == "init"), None
        )
        process.kill()
    if took is None:
        raise SystemExit("bench: the bare CLI did not come up")
    return took


@contextmanager
def model_server() -> Iterator[str]:
    """The scripted model on a loopback port of the host, for the bare CLI; yields its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(_serve(), loop).result(timeout=10)
    try:
        yield "http://{}:{}".format(*runner.addresses[0])
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)


async def _serve() -> web.AppRunner:
    upstream = ScriptUpstream(parse_script(SCRIPT))

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = Call(target=request.path_qs, headers={}, betas=(), body=body, message=json.loads(body))
        async with upstream.ask(call) as found:
            response = web.StreamResponse(status=found.status, headers=dict(found.headers))
            await response.prepare(request)
            async for chunk in found.chunks:
                await response.write(chunk)
        return response

    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/{rest:.*}", answer)
    app.router.add_get("/{rest:.*}", lambda request: web.Response())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner
