"""Heartbeats: on a timeout, report which rank is missing and where it was.

Each process sets its own status; a thread publishes it through the store, with a beat every second.
"""

import json
import re
import threading
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from danlu.core.torch_compat import Store

BEAT_INTERVAL_S = 1.0
LOST_AFTER_S = 20.0  # without a heartbeat
TIMED_OUT = re.compile(r"timed? ?out|timeout", re.IGNORECASE)
COLLECTIVES_PATH = "torch/distributed/"  # whose files define the collectives


class Heartbeat:
    """Publish this process's status and read that of the others.

    Attributes:
        status: its current activity, in words; assign it freely.
    """

    def __init__(self, rank: int, size: int, store: "Store", key: str) -> None:
        self.rank, self.size, self.store, self.key = rank, size, store, key
        self.status = "set-up"
        self._last_beats: dict[int, tuple[bytes, float]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="danlu-heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the heartbeat."""
        self._stopped.set()

    def _beat(self) -> None:
        told, beats = "", 0
        while not self._stopped.wait(BEAT_INTERVAL_S):
            place, beats = self.status, beats + 1
            try:
                self.store.set(f"{self.key}/{self.rank}/beat", str(beats))
                if place != told:
                    self.store.set(f"{self.key}/{self.rank}", json.dumps([place, time.time()]))
            except RuntimeError:  # the process that hosts the store has exited; whoever misses it reports that
                return
            told = place

    def find_lost_rank(self) -> str | None:
        """Describe a process that has sent no heartbeat for a while, or return None."""
        now = time.monotonic()
        for rank in range(self.size):
            key = f"{self.key}/{rank}/beat"
            try:
                beat = self.store.get(key) if self.store.check([key]) else b""
            except RuntimeError:
                return "the process that hosts the store has exited"
            if self._last_beats.get(rank, (None, now))[0] != beat:
                self._last_beats[rank] = beat, now
            elif now - self._last_beats[rank][1] > LOST_AFTER_S:
                return f"rank {rank} sends no heartbeat any more; its last status was: {self._last_status(rank)[0]}"
        return None

    def describe_timeout(self, error: BaseException) -> str:
        """Describe which ranks did not reach the collective that timed out here.

        Args:
            error: the timeout.
        """
        others = {rank: self._last_status(rank) for rank in range(self.size) if rank != self.rank}
        elsewhere = {rank: found for rank, found in others.items() if found[0] != self.status}
        said = (
            f"rank {rank} was last at {place}, {time.time() - at:.0f} s ago"
            for rank, (place, at) in (elsewhere or others).items()
        )
        return f"rank {self.rank} timed out in {_collective_name(error)} at {self.status}: {'; '.join(said)}"

    def _last_status(self, rank: int) -> tuple[str, float]:
        """Return the last status of a rank and the time it was set."""
        key = f"{self.key}/{rank}"
        if not self.store.check([key]):
            return "start-up", time.time()
        place, at = json.loads(self.store.get(key))
        return place, at


def is_timeout(error: BaseException) -> bool:
    """Return whether an error says that other processes did not arrive in time."""
    return isinstance(error, RuntimeError) and TIMED_OUT.search(str(error)) is not None


def _collective_name(error: BaseException) -> str:
    """Return the name of the collective that an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    names = [
        frame.name
        for frame in frames
        if COLLECTIVES_PATH in frame.filename and not frame.name.startswith(("_", "wrapper"))
    ]
    return names[-1] if names else "the gradient all-reduce"
