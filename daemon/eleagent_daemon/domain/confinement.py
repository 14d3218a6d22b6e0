"""What does every sandbox get, whatever its spec says? Asked for by the runtimes' renderers, judged by attestation."""

from __future__ import annotations

from typing import Final

SHM_BYTES: Final = 64 << 20

TCP_BYTES: Final = 64 << 20
"""Socket buffers of all connections, which cgroup v1 counts apart from memory. The launcher's: runc sets no such limit
(KernelMemoryTCP of the Engine API is without effect since runc 1.0)."""

TERMINALS: Final = 64
"""Of the 3,072 that all instances of devpts share (kernel.pty.max less kernel.pty.reserve)."""

MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/cmdline",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/partitions",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
)
"""What an engine masks by itself, and what else tells about the host or its other tenants."""

READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

DEVICES: Final = frozenset({"full", "null", "random", "tty", "urandom", "zero"})
"""What /dev may hold; a pseudo-terminal multiplexer is a link into /dev/pts."""

NAMESPACES: Final = ("mnt", "pid", "net", "ipc", "uts")
"""Those that must not be the host's, on every kernel; cgroup besides where an engine can."""
