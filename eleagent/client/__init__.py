"""How do programs talk to the daemon? `api` is the synchronous client, `aio` the asynchronous one."""
