"""The places of the TUI, one module each."""
