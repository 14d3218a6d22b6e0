"""What is eleagentd made of, part by part? `main` puts them together."""
