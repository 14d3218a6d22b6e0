"""What the daemon and its clients share: errors, permissions, wire types, the operations table and the clients."""
