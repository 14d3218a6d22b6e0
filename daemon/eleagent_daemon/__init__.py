"""The daemon: eleagentd (API, sessions, stores, gateway) and eleagent-launcher (sandboxes)."""
