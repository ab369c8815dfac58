"""Properties are held against values and not against a clock: a machine that is busy makes none of them false."""

from hypothesis import HealthCheck, settings

settings.register_profile("neugrid", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("neugrid")
