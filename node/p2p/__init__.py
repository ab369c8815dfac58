"""The network process: libp2p under trio, behind a Unix socket. Nothing else imports libp2p."""
