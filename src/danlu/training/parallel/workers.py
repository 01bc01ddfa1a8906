"""The processes of this machine that train together: started, watched, started anew, brought down.

torch elastic has them meet and gives each its rank, and anew after a failure; this agent decides what a failure is. An
error that danlu or the user made would come again, so only a process that a signal has ended is worth another attempt.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not to its types
from torch.distributed.elastic.agent.server.api import (
    RunResult,
    SimpleElasticAgent,
    WorkerGroup,
    WorkerSpec,
    WorkerState,
)
from torch.distributed.elastic.rendezvous import RendezvousParameters, registry

from danlu.core.console import say, shout
from danlu.core.failing import ERROR_FILE, WATCHED, cause_of, read_notes

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WATCH_EVERY_S = 0.1
PATIENCE_S = 1.5  # for the others to end by themselves, and for whoever failed first to say why
KILL_AFTER_S = 3.0  # what is left after it was asked to end waits for a process that is gone
STOP_WITHIN_S = 600.0  # to finish a step and write a checkpoint when a signal asks to stop


@dataclass(frozen=True)
class Ended:
    """How the processes ended.

    Attributes:
        exit_code: of the process that was the cause, 0 where all did their work.
        message: what to say that no process could say itself.
    """

    exit_code: int
    message: str | None = None


class WorkersFailed(Exception):
    """The processes have ended, not all with exit code 0, and another attempt would end no better."""

    def __init__(self, ended: Ended) -> None:
        self.ended = ended
        super().__init__(ended.message or f"exit code {ended.exit_code}")


def run_workers(command: Sequence[str], processes: int, restarts: int, name: str) -> Ended:
    """Run a command in several processes until all have ended.

    Args:
        command: the program and its arguments, the same for all.
        processes: how many.
        restarts: how often all are started anew after a signal has ended one.
        name: of this launch, which the processes get as TORCHELASTIC_RUN_ID.
    """
    parameters = RendezvousParameters(
        backend="c10d",
        endpoint="127.0.0.1:0",  # a port that is free
        run_id=name,
        min_nodes=1,
        max_nodes=1,
        local_addr="127.0.0.1",
    )
    meeting = registry.get_rendezvous_handler(parameters)
    spec = WorkerSpec(
        role="danlu",
        local_world_size=processes,
        rdzv_handler=meeting,
        entrypoint=command[0],
        args=tuple(command[1:]),
        max_restarts=restarts,
        monitor_interval=WATCH_EVERY_S,
        local_addr="127.0.0.1",
    )
    with tempfile.TemporaryDirectory(prefix="danlu-launch-") as folder:
        agent = Workers(spec, command, Path(folder))
        try:
            with agent.signals():
                result = agent.run()
        except WorkersFailed as failed:
            return failed.ended
        finally:
            meeting.shutdown()
        return agent.killed_too_often() if result.is_failed() else Ended(0)


class Workers(SimpleElasticAgent):
    """torch elastic's agent with processes of its own. Made by `run_workers`."""

    def __init__(self, spec: WorkerSpec, command: Sequence[str], folder: Path) -> None:
        super().__init__(spec)
        self.command, self.folder = list(command), folder
        self.running: list[subprocess.Popen[bytes]] = []
        self.attempt = -1
        self.asked: list[signal.Signals] = []
        self.passed_on = 0
        self.asked_at = 0.0
        self.killed = ""
        self.store: TCPStore | None = None

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Collect the signals that ask to stop, for the loop to pass on."""

        def collect(number: int, frame: FrameType | None) -> None:
            self.asked.append(signal.Signals(number))

        before = {number: signal.signal(number, collect) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def killed_too_often(self) -> Ended:
        """What to say after the last attempt."""
        attempts = f"{self.attempt + 1} times" if self.attempt else "once"
        return Ended(
            1,
            f"{self.killed}; tried {attempts}. The newest checkpoint is kept: go on with --resume, and with fewer "
            "samples a step if the memory ran out",
        )

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        spec = worker_group.spec
        self.attempt += 1
        if self.attempt:
            say(f"{self.killed}; all begin again from the newest checkpoint ({self.attempt} of {spec.max_restarts})")
        self.running = []
        # Anew each time: in the one that torch elastic keeps, the addresses of the processes before them still stand.
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        for worker in worker_group.workers:
            notes = self._attempt_folder() / str(worker.local_rank)
            notes.mkdir(parents=True)
            environment = {
                **os.environ,
                "RANK": str(worker.global_rank),
                "WORLD_SIZE": str(worker.world_size),
                "LOCAL_RANK": str(worker.local_rank),
                "LOCAL_WORLD_SIZE": str(spec.local_world_size),
                "GROUP_RANK": str(worker_group.group_rank),
                "GROUP_WORLD_SIZE": str(worker_group.group_world_size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(self.store.port),
                "TORCHELASTIC_RESTART_COUNT": str(self.attempt),
                "TORCHELASTIC_MAX_RESTARTS": str(spec.max_restarts),
                "TORCHELASTIC_RUN_ID": spec.rdzv_handler.get_run_id(),
                "TORCHELASTIC_USE_AGENT_STORE": str(True),
                ERROR_FILE: str(notes / "error.json"),
                WATCHED: str(os.getpid()),
            }
            process = subprocess.Popen(
                self.command,
                env=environment,
                # The answer is given once. What goes wrong is of interest whoever says it.
                stdout=None if worker.global_rank == 0 else subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                # Ctrl-C reaches every process of a terminal's group; these get it from here, once.
                start_new_session=True,
            )
            self.running.append(process)
        return {
            worker.local_rank: process.pid for worker, process in zip(worker_group.workers, self.running, strict=True)
        }

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        self._pass_signals_on()
        codes = [process.poll() for process in self.running]
        if all(code == 0 for code in codes):
            return RunResult(state=WorkerState.SUCCEEDED, return_values=dict.fromkeys(range(len(codes))))
        if self.asked:
            killed = any(code is not None and code < 0 for code in codes)  # the others would wait for it
            if None in codes and not killed and time.monotonic() < self.asked_at + STOP_WITHIN_S:
                return RunResult(state=WorkerState.HEALTHY)
            self._bring_down()
            raise WorkersFailed(Ended(self._code_after_stop()))
        if not any(codes):
            return RunResult(state=WorkerState.HEALTHY)
        codes = self._bring_down()
        ended = self._judge(codes)
        if ended is not None:
            raise WorkersFailed(ended)
        return RunResult(state=WorkerState.FAILED)

    def _judge(self, codes: list[int | None]) -> Ended | None:
        """What the failure was; None where a signal from outside has ended a process.

        Args:
            codes: of those that ended by themselves, by rank; None of those that had to be ended.
        """
        cause = cause_of(read_notes(self._attempt_folder()))
        if cause is not None and cause.kind == "foreseen":
            return Ended(cause.exit_code)
        unforeseen = cause is not None and cause.kind == "unforeseen"
        killed = {rank: -code for rank, code in enumerate(codes) if code is not None and code < 0}
        # NCCL, and now and then gloo, abort a process whose peer has gone: that is a consequence.
        first = sorted(killed, key=lambda rank: killed[rank] == signal.SIGABRT)
        if killed and not (unforeseen and killed[first[0]] == signal.SIGABRT):
            rank, number = first[0], killed[first[0]]
            self.killed = f"process {rank} was ended by {signal.Signals(number).name}"
            return None
        code = cause.exit_code if cause else next((code for code in codes if code), 1)
        return Ended(code, cause.message if cause and cause.kind == "lost" else None)

    def _code_after_stop(self) -> int:
        """Of the first process that failed; as a shell says it where a signal has ended it."""
        code = next((process.returncode for process in self.running if process.returncode), 0)
        return 128 - code if code < 0 else code

    def _attempt_folder(self) -> Path:
        return self.folder / f"attempt_{self.attempt}"

    def _pass_signals_on(self) -> None:
        """Give the processes each signal that came; what still runs after a second one was asked twice to end."""
        while self.passed_on < len(self.asked):
            # A terminal that closes is no reason to stop differently.
            number = signal.SIGINT if self.asked[self.passed_on] == signal.SIGINT else signal.SIGTERM
            self.passed_on += 1
            if self.passed_on == 1:
                self.asked_at = time.monotonic()
            elif self.passed_on == 2:
                self.asked_at = time.monotonic() - STOP_WITHIN_S + KILL_AFTER_S
            self._send(number)

    def _send(self, number: signal.Signals) -> None:
        for process in self.running:
            process.send_signal(number)  # nothing where it has ended

    def _wait(self, seconds: float) -> None:
        """Until all have ended, or so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(process.poll() is None for process in self.running):
            time.sleep(WATCH_EVERY_S / 2)

    def _bring_down(self, patience_s: float = PATIENCE_S) -> list[int | None]:
        """End what still runs; the exit codes of those that ended before they were told to."""
        self._wait(patience_s)
        codes = [process.poll() for process in self.running]
        self._send(signal.SIGTERM)
        self._wait(KILL_AFTER_S)
        self._send(signal.SIGKILL)
        for process in self.running:
            try:
                process.wait(KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                shout(f"process {process.pid} does not end, not even by SIGKILL; its device may have to be reset")
        return codes

    def _stop_workers(self, worker_group: WorkerGroup) -> None:
        self._bring_down(patience_s=0)

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = 30) -> None:
        self._bring_down(patience_s=0)
