"""The doors: every byte that leaves a sandbox passes here. This package alone knows upstream credentials."""
