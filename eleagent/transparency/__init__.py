"""How is it proved what a log holds? Merkle tree, signed checkpoints, proofs and the files of the audit log, shared by
the daemon that writes them and whoever checks them without it.
"""

from typing import Final

AUDIT_HEADER: Final = "x-eleagent-audit"
"""In every answer of a daemon: origin, size and root (base64) of the newest checkpoint, for a witness."""
