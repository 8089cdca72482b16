"""What a run has taken: seconds on the clock and seconds of processors, all of its attempts together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, final

from hmn.distributed import gather, is_first


@final
class Spent:
    """Counts on from what earlier attempts have taken."""

    def __init__(self, seconds: float = 0.0, processor_seconds: float = 0.0) -> None:
        self._began = time.monotonic() - seconds
        self._processor_began = time.process_time() - processor_seconds

    @classmethod
    def since(cls, saved: Mapping[str, Any]) -> Spent:
        """Going on from what `state_dict` gave; older versions did not save how long processors worked."""
        return cls(saved["seconds"], saved.get("processor_seconds", 0.0) if is_first() else 0.0)

    def state_dict(self) -> dict[str, float]:
        """Both counts; collective."""
        return {"seconds": self.seconds, "processor_seconds": self.processor_seconds()}

    @property
    def seconds(self) -> float:
        """Seconds on the clock."""
        return time.monotonic() - self._began

    def processor_seconds(self) -> float:
        """Seconds that processors worked, of all threads; collective: the first of several processes gets their sum."""
        return sum(gather(time.process_time() - self._processor_began))
