"""What was asked of the daemon, by whom, and what came of it? The audit log, durable before the act."""

from eleagent_daemon.store.ledger.ledger import Ledger as Ledger
