"""What does the daemon keep, and where is it opened?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass

from eleagent_daemon.layout import Layout
from eleagent_daemon.store.artefacts import Artefacts
from eleagent_daemon.store.conversations import Conversations
from eleagent_daemon.store.egress import Egress
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.registry import Registry
from eleagent_daemon.store.timeline import Timelines
from eleagent_daemon.store.usage import UsageStore


@dataclass(frozen=True, kw_only=True)
class Kept:
    ledger: Ledger
    registry: Registry
    usage: UsageStore
    timelines: Timelines
    egress: Egress
    artefacts: Artefacts
    conversations: Conversations


async def open_kept(stack: AsyncExitStack, *, layout: Layout, installation: str, pool: ThreadPoolExecutor) -> Kept:
    """Each closed with `stack`."""
    ledger = await Ledger.open(layout.ledger, secrets=layout.secrets, installation=installation, pool=pool)
    stack.push_async_callback(ledger.close)
    registry = await Registry.open(layout.registry)
    stack.push_async_callback(registry.close)
    connection, lock = registry.shared()
    usage = UsageStore(connection=connection, lock=lock)
    timelines = Timelines(folder=layout.timelines, pool=pool)
    egress = await Egress.open(layout.egress, timelines=timelines, folder=layout.timelines, pool=pool)
    stack.push_async_callback(egress.close)
    artefacts = Artefacts(folder=layout.sessions, pool=pool)
    return Kept(
        ledger=ledger,
        registry=registry,
        usage=usage,
        timelines=timelines,
        egress=egress,
        artefacts=artefacts,
        conversations=Conversations(folder=layout.conversations, pool=pool),
    )
