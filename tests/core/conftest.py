"""Property tests run on shared machines: a slow example says nothing."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("trueup", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trueup")
