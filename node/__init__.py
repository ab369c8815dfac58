"""The shell: performs what the rules in `market` decide."""
