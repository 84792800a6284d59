"""Every number in docs/evidence, and the commands that measure it."""
