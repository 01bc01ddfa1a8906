"""The limits of a server: sizes, times and counts, each of which a client can meet. Plain values; enforces nothing."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Limits:
    """Bound what one client or all together may take.

    Attributes:
        head_bytes: of a request's line and headers.
        body_bytes: of a request's body.
        rows: of one request.
        read_s: for a request to arrive, from its first byte to its last.
        write_s: for a client to take its answer.
        connections: open ones, of a worker.
        idle_s: a connection is kept open between two requests.
        answer_s: a request may wait where it names no deadline.
        queued_rows: that wait for a model at a time; deadlines refuse long before where they are short.
        queued_bytes: of the bodies that wait for a model at a time.
        batch_rows: that are computed at a time.
        inline_s: a batch that takes longer is computed in a thread.
        generate_s: a text of a language model may take where its request names no deadline.
        text_tokens: that a text of a language model may have.
        sequences: texts of a language model that are written at a time.
        queued_sequences: that wait for a language model at a time.
        running_tokens: that the texts written at a time, prompts included, may come to.
        prefix_bytes: for what language models have computed of beginnings that texts share.
        drain_s: for requests in flight when the server stops.
        drain_idle_s: for idle connections to send one more request when the server stops.
        job_bytes: of a job's file.
        job_s: for a job's file to arrive, or for its answers to be fetched.
        waiting_jobs: that are not yet begun.
        spare_bytes: of the disk, which no job's file may take.
    """

    head_bytes: int = 65_536
    body_bytes: int = 64 * 2**20
    rows: int = 100_000
    read_s: float = 30.0
    write_s: float = 30.0
    connections: int = 10_000
    idle_s: float = 15.0
    answer_s: float = 30.0
    queued_rows: int = 200_000
    queued_bytes: int = 256 * 2**20
    batch_rows: int = 64
    inline_s: float = 0.001
    generate_s: float = 300.0
    text_tokens: int = 32_768
    sequences: int = 64
    queued_sequences: int = 1024
    running_tokens: int = 262_144
    prefix_bytes: int = 256 * 2**20
    drain_s: float = 30.0
    drain_idle_s: float = 1.0
    job_bytes: int = 2**30
    job_s: float = 3600.0
    waiting_jobs: int = 1000
    spare_bytes: int = 2**30

    def for_job(self) -> "Limits":
        """Return the limits of a request that brings a job's file."""
        return replace(self, body_bytes=self.job_bytes, read_s=self.job_s)
