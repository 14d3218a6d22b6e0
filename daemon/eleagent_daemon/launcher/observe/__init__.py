"""What goes on inside the sandboxes, as the host sees it: programs by the kernel, files by comparison."""
