"""What the scheduler is told, in whichever process it is built."""

from __future__ import annotations

from typing import Any, Self

__all__ = ["StreamSettings"]

_ENTRY = "stream2llm"


class StreamSettings(str):
    """The entry of vLLM's ``additional_config`` that our scheduler reads.

    To JSON and to logs it is a constant text: vLLM logs its configuration, and hashes it as JSON
    into the key of its compile cache, which must depend neither on a secret nor on the policy.

    Attributes:
        secret: What session operations carry.
        policy: Name of the policy.
        remote: The facade is in another process, so reports travel in the outputs of the steps.
    """

    __slots__ = ("policy", "remote", "secret")

    secret: str
    policy: str
    remote: bool

    @classmethod
    def make(cls, *, secret: str, policy: str, remote: bool) -> Self:
        """Return settings; ``str`` takes no keywords of ours."""
        settings = cls(_ENTRY)
        settings.secret = secret
        settings.policy = policy
        settings.remote = remote
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
