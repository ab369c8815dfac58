"""The development chain: a JSON-RPC server straight on py-evm and SQLite, on loopback only."""
