"""What is eleagentd made of? Everything is built here, once and in order, and part by part in `assembly`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from aiohttp import web

from eleagent.errors import ConfigError, Conflict, EleAgentError
from eleagent.version import __version__
from eleagent_daemon.account import FIRST_PERSON, daemon_account
from eleagent_daemon.api.tcp import TcpSite
from eleagent_daemon.api.unix import UnixSite
from eleagent_daemon.assembly.faces import make_api
from eleagent_daemon.assembly.kept import open_kept
from eleagent_daemon.assembly.people import open_people
from eleagent_daemon.assembly.work import open_work
from eleagent_daemon.choice import chosen
from eleagent_daemon.config import credentials_folder, load, parse_flags, take_credential
from eleagent_daemon.gateway.credentials import Credential
from eleagent_daemon.gateway.prices import read_prices
from eleagent_daemon.gateway.service import Gateway
from eleagent_daemon.identity.keyring import Keyring
from eleagent_daemon.identity.sessiontokens import SessionTokens
from eleagent_daemon.idle import until_unneeded
from eleagent_daemon.journal import start_logging
from eleagent_daemon.layout import Layout
from eleagent_daemon.listen import bind_socket, hold_lock, notify, remove_socket
from eleagent_daemon.network import WayIn, open_tcp
from eleagent_daemon.privileges import drop_to
from eleagent_daemon.sessions.traces import find_traces
from eleagent_daemon.settings import Config
from eleagent_daemon.store.ledger.recovery import take_up
from eleagent_daemon.supervise import FATAL, UNNEEDED


async def serve(
    config: Config, credential: Credential | None, way_in: WayIn | None, *, keyring: Keyring | None, everybody: bool
) -> bool:
    """The daemon, from its lock to its end. Sessions live on when it ends: the next one adopts them.

    `everybody`: it is the machine's and not one person's, so whoever is logged in there may speak to it. Returns
    whether it ended for good: unneeded, or told so by a person.
    """
    stopped, dismissed = asyncio.Event(), asyncio.Event()

    def dismiss() -> None:
        dismissed.set()
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        # What is kept.
        layout = Layout(Path(config.home))
        installation = layout.installation()
        choice = chosen(config.runtime, layout.runtime_file)
        stack.enter_context(hold_lock(layout.lock))
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=6, thread_name_prefix="disk"))
        kept = await open_kept(stack, layout=layout, installation=installation, pool=pool)

        # What leaves: the one part that holds the model's credential.
        prices = read_prices(config.model.prices)
        gateway = Gateway(credential=credential, base_url=config.model.upstream, prices=prices)
        stack.push_async_callback(gateway.close)

        # Who may come in, what runs, and what people meet.
        people = await open_people(stack, config=config, layout=layout, installation=installation, provided=keyring)
        work = await open_work(
            stack,
            config=config,
            layout=layout,
            installation=installation,
            choice=choice,
            kept=kept,
            gateway=gateway,
            tokens=SessionTokens(keyring=people.keyring),
            pool=pool,
        )
        work.supervisor.serve("auth", people.identity.database.run)
        app = make_api(
            config=config,
            installation=installation,
            choice=choice,
            kept=kept,
            work=work,
            people=people,
            gateway=gateway,
            prices=prices,
            pool=pool,
            stop=dismiss,
        )
        web_runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await web_runner.setup()
        stack.push_async_callback(web_runner.cleanup)

        await take_up(kept.ledger, version=__version__, look=partial(find_traces, kept.registry))
        await work.sessions.recover()
        socket = Path(config.socket)
        group = people.group.gid if people.group else None
        face = UnixSite(web_runner, bind_socket(socket, gid=group, everybody=everybody))
        await face.start()
        stack.push_async_callback(face.close)
        stack.callback(remove_socket, socket)
        if way_in is not None:
            site = TcpSite(web_runner, way_in.listener, tls=way_in.tls)
            await site.start()
            stack.push_async_callback(site.close)
        notify("READY=1")
        unneeded = await until_unneeded(
            stopped, idle_s=config.idle_s, served=web_runner.server, sessions=kept.registry.live, socket=socket
        )
        notify("STOPPING=1")
        return unneeded or dismissed.is_set()


def main(arguments: Sequence[str] | None = None) -> int:
    """eleagentd by itself; people start it, with its launcher, by `eleagent daemon run`, which made its folders."""
    try:
        flags, file = parse_flags(sys.argv[1:] if arguments is None else arguments)
        config, _ = load(flags, environ=os.environ, file=file)
        kind, secret = take_credential(config, os.environ)
        credential = Credential(kind=kind, secret=secret) if secret else None
        keyring = Keyring.provided(credentials_folder(os.environ))
        way_in = open_tcp(config.listen, cert=config.tls.cert, key=config.tls.key) if config.listen else None
        everybody = os.getuid() < FIRST_PERSON
        if os.getuid() == 0:
            drop_to(*daemon_account(config.user))
        start_logging(config.log_level)
        for_good = asyncio.run(serve(config, credential, way_in, keyring=keyring, everybody=everybody))
    except EleAgentError as err:
        print(f"eleagent: {err.message}", file=sys.stderr)  # noqa: T201 - told to whoever started it
        return FATAL if isinstance(err, ConfigError | Conflict) else err.exit_code
    return UNNEEDED if for_good else 0


if __name__ == "__main__":
    sys.exit(main())
