"""What must outlive the daemon: registry, timelines, audit log, artefacts."""
