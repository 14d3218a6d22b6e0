"""The life of a session, from accepted to ended."""
