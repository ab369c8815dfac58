"""Settings of the property tests: a busy machine is no failure, so examples have no deadline."""

from hypothesis import settings

settings.register_profile("market", deadline=None)
settings.load_profile("market")
