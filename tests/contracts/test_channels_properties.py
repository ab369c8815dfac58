"""Channels keeps every promise of the ghost ledger, whatever happens in whatever order."""

from hypothesis import HealthCheck, settings

from tests.contracts.machine import ChannelsMachine

TestChannels = ChannelsMachine.TestCase
TestChannels.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
