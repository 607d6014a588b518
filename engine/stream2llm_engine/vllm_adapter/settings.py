"""What the scheduler is told, in whichever process it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream2llm_engine.preemption import PreemptionMode
    from stream2llm_profiles import HardwareProfile

__all__ = ["StreamSettings"]

_ENTRY = "stream2llm"


class StreamSettings(str):
    """The entry of vLLM's ``additional_config`` that our scheduler reads.

    To JSON and to logs it is a constant text: vLLM logs its configuration, and hashes it as JSON
    into the key of its compile cache, which must depend neither on a secret nor on the policy.

    Attributes:
        secret: What session operations carry.
        policy: Name or import path of the policy.
        profile: Prices of the hardware, or ``None``.
        preemption: What happens to the KV of a victim.
        swap_space_gib: Host memory for it, in GiB.
        remote: The facade is in another process, so reports travel in the outputs of the steps.
        tenant_weights: Share of each tenant relative to the others.
        fair_share: Whether tenants take turns.
    """

    __slots__ = (
        "fair_share",
        "policy",
        "preemption",
        "profile",
        "remote",
        "secret",
        "swap_space_gib",
        "tenant_weights",
    )

    secret: str
    policy: str
    profile: HardwareProfile | None
    preemption: PreemptionMode
    swap_space_gib: float
    remote: bool
    tenant_weights: dict[str, float]
    fair_share: bool

    @classmethod
    def make(
        cls,
        *,
        secret: str,
        policy: str,
        profile: HardwareProfile | None,
        remote: bool,
        preemption: PreemptionMode = "recompute",
        swap_space_gib: float = 0.0,
        tenant_weights: Mapping[str, float] | None = None,
        fair_share: bool = True,
    ) -> Self:
        """Return settings; ``str`` takes no keywords of ours."""
        settings = cls(_ENTRY)
        settings.secret = secret
        settings.policy = policy
        settings.profile = profile
        settings.remote = remote
        settings.preemption = preemption
        settings.swap_space_gib = swap_space_gib
        settings.tenant_weights = dict(tenant_weights or {})
        settings.fair_share = fair_share
        return settings

    def added_to(self, additional_config: dict[str, Any]) -> dict[str, Any]:
        """Return ``additional_config`` with this entry."""
        return {**additional_config, _ENTRY: self}

    @staticmethod
    def of(additional_config: object) -> StreamSettings | None:
        """Return the entry, or ``None`` where the engine was not started by our facade."""
        if not isinstance(additional_config, dict):
            return None
        entry = additional_config.get(_ENTRY)
        return entry if isinstance(entry, StreamSettings) else None
