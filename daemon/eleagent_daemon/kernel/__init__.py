"""What is asked of Linux itself: system calls, mounts, child processes; for the launcher and its runtimes."""
