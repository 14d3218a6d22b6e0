"""The command line; it meets the daemon over its API alone."""
