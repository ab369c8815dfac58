"""The chain: Vyper sources, their artifacts, the typed client, the wallet, the indexer and the devnet."""
