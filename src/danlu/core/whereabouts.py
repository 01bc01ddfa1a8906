"""Where each of several processes is, so that one that waits in vain can say for whom.

Each writes it down where it stands; a thread tells the others through the store, and every second that it lives.
"""

import json
import re
import threading
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

TOLD_EVERY_S = 1.0
LOST_AFTER_S = 20.0  # without a sign of life
TIMED_OUT = re.compile(r"timed? ?out|timeout", re.IGNORECASE)
FOLDER = "torch/distributed/"  # in whose files collectives are


class Whereabouts:
    """Tells the others where this process is.

    Attributes:
        place: what it does now, in words; assigned freely.
    """

    def __init__(self, rank: int, size: int, store: "Store", key: str) -> None:
        self.rank, self.size, self.store, self.key = rank, size, store, key
        self.place = "getting ready"
        self._heard: dict[int, tuple[bytes, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="danlu-whereabouts", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell no more."""
        self._ended.set()

    def _tell(self) -> None:
        told, beats = "", 0
        while not self._ended.wait(TOLD_EVERY_S):
            place, beats = self.place, beats + 1
            try:
                self.store.set(f"{self.key}/{self.rank}/beat", str(beats))
                if place != told:
                    self.store.set(f"{self.key}/{self.rank}", json.dumps([place, time.time()]))
            except RuntimeError:  # the process that keeps the store has gone; whoever misses it will say so
                return
            told = place

    def lost(self) -> str | None:
        """Which process has not been heard of for a while, in words; asked every now and then by one that waits."""
        now = time.monotonic()
        for rank in range(self.size):
            key = f"{self.key}/{rank}/beat"
            try:
                beat = self.store.get(key) if self.store.check([key]) else b""
            except RuntimeError:
                return "the process that keeps the store has gone"
            if self._heard.get(rank, (None, now))[0] != beat:
                self._heard[rank] = beat, now
            elif now - self._heard[rank][1] > LOST_AFTER_S:
                return f"rank {rank} was last heard of at {self._last(rank)[0]}, and has gone since"
        return None

    def missing(self, error: BaseException) -> str:
        """Who did not come to what this process waited for in vain, in words.

        Args:
            error: that told of the wait's end.
        """
        others = {rank: self._last(rank) for rank in range(self.size) if rank != self.rank}
        elsewhere = {rank: found for rank, found in others.items() if found[0] != self.place}
        said = (
            f"rank {rank} was last heard of at {place}, {time.time() - at:.0f} s ago"
            for rank, (place, at) in (elsewhere or others).items()
        )
        return f"rank {self.rank} waited in vain in {_collective(error)} at {self.place}: {'; '.join(said)}"

    def _last(self, rank: int) -> tuple[str, float]:
        """Where a process was when it last said so, and when that was."""
        key = f"{self.key}/{rank}"
        if not self.store.check([key]):
            return "the beginning", time.time()
        place, at = json.loads(self.store.get(key))
        return place, at


def is_timeout(error: BaseException) -> bool:
    """Whether an error says that other processes did not come in time."""
    return isinstance(error, RuntimeError) and TIMED_OUT.search(str(error)) is not None


def _collective(error: BaseException) -> str:
    """The collective that an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    names = [frame.name for frame in frames if FOLDER in frame.filename and not frame.name.startswith(("_", "wrapper"))]
    return names[-1] if names else "the sum of gradients"
