"""The privileged process: engine, namespaces, attestation, pipes, spool, listening sockets. No HTTP, no secrets."""
