"""A way out for workloads that may have one: packet rules and a name resolver inside of their own network namespace."""
