"""Who is somebody, and how is that proved? Passwords, logins and keys, apart from how they are asked for."""
