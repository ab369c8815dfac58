"""What the settings mean to the parts of a node: amounts in base units, sizes in bytes, times in seconds."""

from typing import Final

from market.pricing import PricingPolicy
from market.resources import Prices, Resources
from market.units import RATE_SCALE, Seconds, parse_amount
from node.actions.deploying import PodTerms
from node.actions.holdings import Quotas
from node.actions.log_keeping import DAY, LogLimits
from node.actions.projects import BuildTerms
from node.actions.standing import StandingSettings
from node.adapters.sandboxes.languages import load_languages
from node.config import Config, ProviderSettings, RequesterSettings
from node.parts import Settings

HOUR: Final = 3600


def settings_of(config: Config) -> Settings:
    """What the parts need to know of a node's settings."""
    return Settings(
        folder=config.folder,
        region=config.region,
        isolation=config.provider.isolation,
        accept_risks=config.provider.accept_risks,
        policy=policy_of(config.provider, config.region) if "provider" in config.roles else None,
        ask=config.requester.ask,
        top_up=parse_amount(config.requester.top_up),
        credits=config.requester.credits,
        run_price=parse_amount(config.requester.run_price),
        low_balance=parse_amount(config.requester.low_balance),
        least_payout=parse_amount(config.requester.least_payout),
        claim_above=parse_amount(config.provider.claim_above),
        standing=StandingSettings(sandboxes=config.requester.sandboxes, cap=parse_amount(config.requester.code_cap)),
        builds=build_terms(config.requester),
        pods=pod_terms(config.requester),
        files=Quotas(
            free=config.files.free,
            pro=config.files.pro,
            enterprise=config.files.enterprise,
            kept=config.files.days * DAY,
        ),
        runs_kept=config.requester.code_days * DAY,
        languages=load_languages().words(),
        logs=LogLimits(
            ring=config.requester.service_log * 2**20,
            ring_age=config.requester.service_log_days * DAY,
            kept=config.requester.log_days * DAY,
        ),
    )


def build_terms(settings: RequesterSettings) -> BuildTerms:
    """What builds are ordered with."""
    return BuildTerms(
        cap=parse_amount(settings.build_price),
        timeout=Seconds(settings.build_timeout),
        resources=Resources(
            cpu=settings.build_cpu, memory=settings.build_memory * 2**20, disk=settings.build_disk * 2**20
        ),
        egress=settings.build_egress,
    )


def pod_terms(settings: RequesterSettings) -> PodTerms:
    """What pods of built images are ordered with."""
    memory = settings.pod_memory * 2**20
    return PodTerms(cap=parse_amount(settings.pod_price), resources=Resources(cpu=1000, memory=memory))


def policy_of(settings: ProviderSettings, region: str) -> PricingPolicy:
    """The pricing rules; prices per hour in tokens become rates per second."""
    return PricingPolicy(
        base=Prices(
            cpu=_rate(settings.cpu_hour),
            memory=_rate(settings.memory_gib_hour),
            disk=_rate(settings.disk_gib_hour),
            gpu=_rate(settings.gpu_hour),
        ),
        cost=Prices(cpu=_rate(settings.cpu_hour_cost), memory=0, gpu=_rate(settings.gpu_hour_cost)),
        share=settings.share,
        floor=settings.floor,
        surge=settings.surge,
        max_duration=settings.max_duration,
        max_leases=settings.max_leases,
        regions=(region,),
        isolations=(settings.isolation,),
    )


def _rate(per_hour: str) -> int:
    return parse_amount(per_hour) * RATE_SCALE // HOUR
