"""The HTTP API: routes only, a file per noun."""
