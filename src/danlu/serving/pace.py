"""How long batches of one model take, by what earlier ones took.

By it what would be answered too late is refused at once, and batches that are quick are computed in the event loop.
"""

# Weights of the newest batch in the time that batches of its size hold up the event loop. One that takes longer than
# usual was mostly kept waiting by another process; what is usual is to be known.
SLOWER, QUICKER = 0.1, 0.3
NEWEST = 0.2  # its weight in the time that a client waits, whatever the reason
SPREADS = 2.0  # mean deviations by which a batch may take longer than the mean
MOST_SPREAD = 1.0  # of one batch: what waited for another process says little

Size = tuple[int, int]  # a bucket, and the bit length of a number of rows: batches within a factor of 2 are alike


class Pace:
    """Remember how long batches took, and estimate how long the next ones take.

    Batches are told apart by bucket and number of rows.

    Args:
        batch_rows: of a full batch.

    Attributes:
        row_s: seconds of a row, whatever its batch.
    """

    def __init__(self, batch_rows: int) -> None:
        self._batch_rows = batch_rows
        self.row_s = 0.0
        self._spread = 0.0  # mean deviation from the mean, as a share of it
        self._means: dict[Size, float] = {}
        self._held: dict[Size, float] = {}
        self._guesses: dict[Size, float] = {}  # for sizes that were not met

    def learn(self, bucket: int, rows: int, seconds: float, held_s: float) -> None:
        """Take the seconds of a batch, and those of the event loop."""
        size = bucket, rows.bit_length()
        mean = self._means.get(size, seconds)
        if mean:
            self._spread += NEWEST * (min(MOST_SPREAD, abs(seconds / mean - 1.0)) - self._spread)
        self._means[size] = mean + NEWEST * (seconds - mean)
        usual = self._held.get(size, held_s)
        self._held[size] = usual + (SLOWER if held_s > usual else QUICKER) * (held_s - usual)
        self.row_s += NEWEST * (seconds / rows - self.row_s)
        self._guesses.clear()

    def held_s(self, bucket: int, rows: int) -> float | None:
        """Return how long a batch usually holds up the event loop.

        None before any of its size.
        """
        return self._held.get((bucket, rows.bit_length()))

    def seconds(self, rows: int, bucket: int) -> float:
        """Return within which time rows are likely computed in full batches."""
        full, rest = divmod(rows, self._batch_rows)
        last = self.batch_seconds(rest or self._batch_rows, bucket)
        before = full if rest else full - 1
        return before * self._mean(self._batch_rows, bucket) + last if before else last

    def batch_seconds(self, rows: int, bucket: int) -> float:
        """Return within which time one batch is likely computed.

        0 before any of its bucket was measured.
        """
        return self._mean(rows, bucket) * (1.0 + SPREADS * self._spread)

    def _mean(self, rows: int, bucket: int) -> float:
        size = bucket, rows.bit_length()
        found = self._means.get(size)
        if found is None:
            found = self._guesses.get(size)
        if found is None:
            found = self._guesses[size] = self._guess(*size)
        return min(found, rows * self.row_s)  # a size may not have been met for long; a row's time is of the latest

    def _guess(self, bucket: int, bits: int) -> float:
        """Guess the seconds of a batch from those of other sizes."""
        known = {size: seconds for (other, size), seconds in self._means.items() if other == bucket}
        smaller = [size for size in known if size < bits]
        if smaller:  # no more than proportional
            return known[max(smaller)] * float(2 ** (bits - max(smaller)))
        return max(known.values(), default=0.0)
