"""The HTTP face: the pipeline, and a handler an operation."""
