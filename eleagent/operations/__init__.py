"""Which operations does the daemon offer? One module a noun, so that a command loads its own alone; `table` has all."""
