"""What EleAgent is about, without I/O: sandboxes, attestation, policy, launch verbs. Nothing here awaits."""
