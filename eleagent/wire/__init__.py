"""The shapes that daemon and clients exchange; one module a noun."""
