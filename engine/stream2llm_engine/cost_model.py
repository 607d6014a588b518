"""What computing tokens costs, in seconds.

Prices come from a hardware profile, or, without one, from the engine's own steps: a line through
what the latest ones took. They steer the order of work and the choice of victims; answers
never depend on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream2llm_profiles import HardwareProfile

__all__ = ["CostModel"]

# A mid-sized model on one GPU; replaced by what the first steps show.
_FIRST_TOKEN_S = 1e-4
_FIRST_TOKENS = 1000
# Where nothing was measured: what a PCIe 4.0 x16 link moves.
_COPY_BYTES_PER_S = 20e9
# Weight of a step relative to the one after it.
_FADING = 0.98
# A line is drawn only through steps whose lengths differ by a tenth.
_LEAST_SPREAD = 0.01


class CostModel:
    """Prices of one machine.

    Args:
        profile: Where prices come from; ``None``: from :meth:`observe`.
    """

    def __init__(self, profile: HardwareProfile | None = None) -> None:
        self.profile = profile
        self._learns = profile is None
        self._overhead_s = profile.prefill.step_overhead_s if profile else 0.0
        self._token_s = profile.prefill.token_s if profile else _FIRST_TOKEN_S
        self._context_s = profile.prefill.token_context_s if profile else 0.0
        # Fading sums over steps: weights, tokens, their squares, seconds, tokens times seconds.
        self._sums = _terms(_FIRST_TOKENS, _FIRST_TOKENS * _FIRST_TOKEN_S)

    @property
    def overhead_tokens(self) -> float:
        """How many tokens a step could compute in the time that every step costs."""
        return self._overhead_s / self._token_s

    def observe(self, tokens: int, seconds: float) -> None:
        """Take a step's length into account, where there is no profile."""
        if not self._learns or tokens <= 0 or seconds <= 0.0:
            return
        terms = zip(self._sums, _terms(tokens, seconds), strict=True)
        self._sums = n, t, tt, s, ts = tuple(_FADING * before + now for before, now in terms)
        spread = n * tt - t * t
        slope = (n * ts - t * s) / spread if spread > _LEAST_SPREAD * t * t else 0.0
        overhead_s = (s - slope * t) / n
        if slope > 0.0 and overhead_s >= 0.0:
            self._token_s, self._overhead_s = slope, overhead_s
        else:
            self._token_s, self._overhead_s = ts / tt, 0.0

    def prefill_s(self, tokens: int, context: int = 0) -> float:
        """Return the seconds that ``tokens`` behind ``context`` computed ones add to a step."""
        return tokens * (self._token_s + self._context_s * (context + 0.5 * tokens))

    def tokens_within(self, seconds: float) -> int:
        """Return how many tokens a step of ``seconds`` computes."""
        return int(max(0.0, seconds - self._overhead_s) / self._token_s)

    def tail_price_s(self, context: int, tokens: int) -> float:
        """Return the seconds to compute the last ``tokens`` of ``context`` ones again."""
        return self.prefill_s(tokens, max(0, context - tokens))

    def copy_out_s(self, blocks: int, block_bytes: int) -> float:
        """Return the seconds to copy KV blocks to host memory."""
        swap = self.profile.swap if self.profile else None
        if swap is None:
            return blocks * block_bytes / _COPY_BYTES_PER_S
        return swap.out_s(self._profiled_blocks(blocks, block_bytes))

    def copy_in_s(self, blocks: int, block_bytes: int) -> float:
        """Return the seconds to copy KV blocks back."""
        swap = self.profile.swap if self.profile else None
        if swap is None:
            return blocks * block_bytes / _COPY_BYTES_PER_S
        return swap.in_s(self._profiled_blocks(blocks, block_bytes))

    def _profiled_blocks(self, blocks: int, block_bytes: int) -> float:
        """Return how many blocks of the profile's size that many bytes are."""
        assert self.profile is not None
        assert self.profile.swap is not None
        profiled_bytes = self.profile.kv_bytes_per_token * self.profile.swap.block_tokens
        return blocks * block_bytes / profiled_bytes


def _terms(tokens: int, seconds: float) -> tuple[float, ...]:
    """Return what a step adds to the sums of a least-squares line."""
    return (1.0, float(tokens), float(tokens * tokens), seconds, tokens * seconds)
