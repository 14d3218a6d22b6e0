"""The backends that make sandboxes; the launcher alone uses them."""
