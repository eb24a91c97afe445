"""The learning rate as a function of the share of the budget that is spent."""

import math

from nf_mnist.errors import ConfigError


class Schedule:
    """Linear warm-up, then a cosine decay; a function of progress, so it has no state to resume.

    Args:
        warmup: Share of the budget (steps or time) over which the rate rises from zero.
        final: Share of the peak rate that is left at the end; 1 keeps the rate constant after the warm-up.

    Raises:
        ConfigError: If either is outside [0, 1].
    """

    def __init__(self, warmup: float, final: float) -> None:
        if not 0 <= warmup < 1 or not 0 <= final <= 1:
            raise ConfigError(f"a schedule needs 0 <= warmup < 1 and 0 <= final <= 1, got {warmup} and {final}")
        self.warmup, self.final = warmup, final

    def factor(self, progress: float) -> float:
        """Return the share of the peak rate at a progress in [0, 1]."""
        if progress < self.warmup:
            return progress / self.warmup
        decayed = (progress - self.warmup) / (1 - self.warmup)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(decayed, 1.0)))
