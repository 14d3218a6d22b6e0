"""How is it proved what a log holds? Merkle tree, signed checkpoints, proofs and the files of the audit log, shared by
the daemon that writes them and whoever checks them without it.
"""
