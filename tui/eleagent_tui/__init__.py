"""The full-screen client; it meets the daemon over its API alone."""
