"""The node's own log: one JSON line an event on stderr, at the level that NEUGRID_LOG asks for."""

import logging
import os
import sys

import structlog


def configure_logs() -> None:
    """Set structlog up once; NEUGRID_LOG is debug, info (default), warning or error."""
    level = getattr(logging, os.environ.get("NEUGRID_LOG", "info").upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format='{"level":"%(levelname)s","event":"%(message)s"}'
    )
