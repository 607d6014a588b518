"""What computing tokens costs, in seconds.

Prices come from a hardware profile, or, without one, from the engine's own steps: a line through
what the latest ones took. They steer the order of work and the choice of victims; answers
never depend on them.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from stream2llm_profiles import HardwareProfile

__all__ = ["TILE_TOKENS", "CostModel"]

# Matrix kernels compute whole tiles: a step that begins another one pays for all of it.
TILE_TOKENS = 64

# A mid-sized model on one GPU; replaced by what the first steps show.
_FIRST_TOKEN_S = 1e-4
_FIRST_TOKENS = 100
# Where nothing was measured: what a PCIe 4.0 x16 link moves.
_COPY_BYTES_PER_S = 20e9
# Weight of a step relative to the one after it.
_FADING = 0.98
# A line is drawn only through steps whose lengths differ by a tenth.
_LEAST_SPREAD = 0.01
# What context adds is told from what tokens cost only where a tenth of it is not theirs.
_LEAST_OWN = 0.1
# A step that takes longer than so many times what was expected was held up by something else.
_HELD_UP = 4.0
_LEAST_TOKEN_S = 1e-9


class CostModel:
    """Prices of one machine.

    Args:
        profile: Where prices come from; ``None``: from :meth:`observe`.

    Attributes:
        learns: Whether prices follow the steps.
    """

    def __init__(self, profile: HardwareProfile | None = None) -> None:
        self.profile = profile
        self.learns = profile is None
        self._overhead_s = profile.prefill.step_overhead_s if profile else 0.0
        self._token_s = profile.prefill.token_s if profile else _FIRST_TOKEN_S
        self._context_s = profile.prefill.token_context_s if profile else 0.0
        self._sums = _Sums().add(_FIRST_TOKENS, 0.0, _FIRST_TOKENS * _FIRST_TOKEN_S)

    @property
    def overhead_tokens(self) -> float:
        """How many tokens a step could compute in the time that every step costs."""
        return self._overhead_s / self._token_s

    def observe(self, tokens: int, seconds: float, work: float = 0.0) -> None:
        """Take a step's length into account, where there is no profile.

        Args:
            tokens: Tokens that the step computed.
            seconds: How long it took.
            work: Sum over its tokens of how many tokens each attends to.
        """
        if not self.learns or tokens <= 0 or seconds <= 0.0:
            return
        expected_s = self._overhead_s + tokens * self._token_s + work * self._context_s
        self._sums = self._sums.add(tokens, work, min(seconds, _HELD_UP * expected_s))
        context_s = self._sums.context_price()
        self._context_s = _FADING * self._context_s if context_s is None else max(0.0, context_s)
        self._overhead_s, self._token_s = self._sums.line(self._context_s)

    def prefill_s(self, tokens: int, context: int = 0) -> float:
        """Return the seconds that ``tokens`` behind ``context`` computed ones add to a step."""
        return tokens * (self._token_s + self._context_s * (context + 0.5 * tokens))

    def tokens_added_within(self, seconds: float, context: int) -> int:
        """Return how many tokens behind ``context`` computed ones add that much to a step."""
        if seconds <= 0.0:
            return 0
        # The positive root of tokens * (price + context price * (context + tokens / 2)).
        linear = self._token_s + self._context_s * context
        return int(2.0 * seconds / (linear + sqrt(linear**2 + 2.0 * self._context_s * seconds)))

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


class _Sums(NamedTuple):
    """Fading sums over steps, of which least squares are made; products are named by factors."""

    n: float = 0.0
    t: float = 0.0
    w: float = 0.0
    s: float = 0.0
    tt: float = 0.0
    tw: float = 0.0
    ww: float = 0.0
    ts: float = 0.0
    ws: float = 0.0

    def add(self, tokens: float, work: float, seconds: float) -> _Sums:
        """Return the sums with one more step."""
        t, w, s = tokens, work, seconds
        terms = (1.0, t, w, s, t * t, t * w, w * w, t * s, w * s)
        return _Sums(*(_FADING * before + now for before, now in zip(self, terms, strict=True)))

    def context_price(self) -> float | None:
        """Return what a token attended to adds, beside the line; ``None``: work says nothing new.

        What tokens explain is taken out of work and seconds first (Frisch and Waugh, 1933).
        """
        spread = self.n * self.tt - self.t**2
        if spread <= 0.0:
            return None
        slope = (self.n * self.tw - self.t * self.w) / spread
        own = self.n * self.ww - self.w**2 - slope * (self.n * self.tw - self.t * self.w)
        if own <= _LEAST_OWN * self.n * self.ww:
            return None
        together = self.n * self.ws - self.w * self.s - slope * (self.n * self.ts - self.t * self.s)
        return together / own

    def line(self, context_s: float) -> tuple[float, float]:
        """Return the seconds of a step without tokens, and of a token, both without context."""
        s, ts = self.s - context_s * self.w, self.ts - context_s * self.tw
        spread = self.n * self.tt - self.t**2
        slope = (self.n * ts - self.t * s) / spread if spread > _LEAST_SPREAD * self.t**2 else 0.0
        overhead_s = (s - slope * self.t) / self.n
        if slope > 0.0 and overhead_s >= 0.0:
            return overhead_s, slope
        return 0.0, max(ts / self.tt, _LEAST_TOKEN_S)
