"""Start, watch, restart and terminate the worker processes of this machine.

torch elastic does the rendezvous and assigns ranks, again after each restart; this agent decides what counts as a
failure. An error in danlu or in the user's input would occur again, so all processes are restarted only after one was
killed by a signal.
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

from danlu.core.console import ERROR, emit, info
from danlu.launch.failures import ERROR_FILE_VAR, LAUNCHER_PID_VAR, read_failures, root_cause

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
POLL_INTERVAL_S = 0.1
GRACE_S = 1.5  # for the others to exit on their own, and for the first one that failed to write its record
KILL_AFTER_S = 3.0  # after SIGTERM: a process that still runs waits for a lost peer
STOP_TIMEOUT_S = 600.0  # to finish a step and write a checkpoint after a stop signal


@dataclass(frozen=True)
class LaunchResult:
    """Hold the outcome of a launch.

    Attributes:
        exit_code: of the process that caused the failure, 0 on success.
        message: for the user, if no process could print it itself.
    """

    exit_code: int
    message: str | None = None


class WorkersFailed(Exception):
    """Signal that the processes failed in a way that a restart cannot fix."""

    def __init__(self, ended: LaunchResult) -> None:
        self.result = ended
        super().__init__(ended.message or f"exit code {ended.exit_code}")


def run_workers(command: Sequence[str], processes: int, restarts: int, name: str) -> LaunchResult:
    """Run a command in several processes until all have exited.

    Args:
        command: the program and its arguments, the same for all.
        processes: number of processes.
        restarts: how many times all are restarted after one was killed by a signal.
        name: of this launch; the processes get it as TORCHELASTIC_RUN_ID.
    """
    parameters = RendezvousParameters(
        backend="c10d",
        endpoint="127.0.0.1:0",  # any free port
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
        monitor_interval=POLL_INTERVAL_S,
        local_addr="127.0.0.1",
    )
    with tempfile.TemporaryDirectory(prefix="danlu-launch-") as folder:
        agent = ElasticAgent(spec, command, Path(folder))
        try:
            with agent.collect_signals():
                result = agent.run()
        except WorkersFailed as failed:
            return failed.result
        finally:
            meeting.shutdown()
        return agent.restarts_exhausted() if result.is_failed() else LaunchResult(0)


class ElasticAgent(SimpleElasticAgent):
    """Run worker processes under torch elastic's agent. Created by `run_workers`."""

    def __init__(self, spec: WorkerSpec, command: Sequence[str], folder: Path) -> None:
        super().__init__(spec)
        self.command, self.folder = list(command), folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.attempt = -1
        self.received_signals: list[signal.Signals] = []
        self.num_forwarded = 0
        self.stop_requested_at = 0.0
        self.killed_message = ""
        self.store: TCPStore | None = None

    @contextmanager
    def collect_signals(self) -> Iterator[None]:
        """Collect stop signals, which the monitor loop forwards to the workers."""

        def collect(number: int, frame: FrameType | None) -> None:
            self.received_signals.append(signal.Signals(number))

        before = {number: signal.signal(number, collect) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def restarts_exhausted(self) -> LaunchResult:
        """Return the result after the last attempt failed."""
        attempts = f"{self.attempt + 1} times" if self.attempt else "once"
        return LaunchResult(
            1,
            f"{self.killed_message}; tried {attempts}. The newest checkpoint is kept: continue with --resume, with a "
            "smaller batch size if memory ran out",
        )

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        spec = worker_group.spec
        self.attempt += 1
        if self.attempt:
            attempt = f"restart {self.attempt} of {spec.max_restarts}"
            info(f"{self.killed_message}; restarting all from the newest checkpoint ({attempt})")
        self.processes = []
        # A new store per attempt: the one of torch elastic still holds the addresses of the earlier processes.
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        for worker in worker_group.workers:
            records = self._attempt_folder() / str(worker.local_rank)
            records.mkdir(parents=True)
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
                ERROR_FILE_VAR: str(records / "error.json"),
                LAUNCHER_PID_VAR: str(os.getpid()),
            }
            process = subprocess.Popen(
                self.command,
                env=environment,
                # Results are printed once, by rank 0; errors by any rank.
                stdout=None if worker.global_rank == 0 else subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                # Ctrl-C would reach the whole process group of the terminal; the agent forwards it once instead.
                start_new_session=True,
            )
            self.processes.append(process)
        return {
            worker.local_rank: process.pid for worker, process in zip(worker_group.workers, self.processes, strict=True)
        }

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        self._forward_signals()
        codes = [process.poll() for process in self.processes]
        if all(code == 0 for code in codes):
            return RunResult(state=WorkerState.SUCCEEDED, return_values=dict.fromkeys(range(len(codes))))
        if self.received_signals:
            killed = any(code is not None and code < 0 for code in codes)  # the others would wait for it forever
            if None in codes and not killed and time.monotonic() < self.stop_requested_at + STOP_TIMEOUT_S:
                return RunResult(state=WorkerState.HEALTHY)
            self._terminate()
            raise WorkersFailed(LaunchResult(self._exit_code_after_stop()))
        if not any(codes):
            return RunResult(state=WorkerState.HEALTHY)
        codes = self._terminate()
        ended = self._classify_failure(codes)
        if ended is not None:
            raise WorkersFailed(ended)
        return RunResult(state=WorkerState.FAILED)

    def _classify_failure(self, codes: list[int | None]) -> LaunchResult | None:
        """Return the result of a final failure; None if a restart makes sense.

        Args:
            codes: exit codes by rank, negative if killed by a signal; None for processes that the agent terminated.
        """
        cause = root_cause(read_failures(self._attempt_folder()))
        if cause is not None and cause.category == "foreseen":
            return LaunchResult(cause.exit_code)
        unforeseen = cause is not None and cause.category == "unforeseen"
        killed = {rank: -code for rank, code in enumerate(codes) if code is not None and code < 0}
        # NCCL, and sometimes gloo, abort a process whose peer is gone: a consequence, not the cause.
        first = sorted(killed, key=lambda rank: killed[rank] == signal.SIGABRT)
        if killed and not (unforeseen and killed[first[0]] == signal.SIGABRT):
            rank, number = first[0], killed[first[0]]
            self.killed_message = f"process {rank} was killed by {signal.Signals(number).name}"
            return None
        code = cause.exit_code if cause else next((code for code in codes if code), 1)
        return LaunchResult(code, cause.message if cause and cause.category == "lost" else None)

    def _exit_code_after_stop(self) -> int:
        """Return the first failed process's exit code, 128 + N if signal N killed it."""
        code = next((process.returncode for process in self.processes if process.returncode), 0)
        return 128 - code if code < 0 else code

    def _attempt_folder(self) -> Path:
        return self.folder / f"attempt_{self.attempt}"

    def _forward_signals(self) -> None:
        """Forward each received signal to the processes; a second one shortens the timeout."""
        while self.num_forwarded < len(self.received_signals):
            # SIGHUP (a closed terminal) and SIGUSR1 (a queue's warning) stop like SIGTERM.
            number = signal.SIGINT if self.received_signals[self.num_forwarded] == signal.SIGINT else signal.SIGTERM
            self.num_forwarded += 1
            if self.num_forwarded == 1:
                self.stop_requested_at = time.monotonic()
            elif self.num_forwarded == 2:
                self.stop_requested_at = time.monotonic() - STOP_TIMEOUT_S + KILL_AFTER_S
            self._send(number)

    def _send(self, number: signal.Signals) -> None:
        for process in self.processes:
            process.send_signal(number)  # does nothing if it has exited

    def _wait(self, seconds: float) -> None:
        """Wait until all processes have exited, at most `seconds`."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(process.poll() is None for process in self.processes):
            time.sleep(POLL_INTERVAL_S / 2)

    def _terminate(self, patience_s: float = GRACE_S) -> list[int | None]:
        """Terminate running processes; return the exit codes of those that exited on their own."""
        self._wait(patience_s)
        codes = [process.poll() for process in self.processes]
        self._send(signal.SIGTERM)
        self._wait(KILL_AFTER_S)
        self._send(signal.SIGKILL)
        for process in self.processes:
            try:
                process.wait(KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                emit(f"process {process.pid} does not exit, not even after SIGKILL; its device may need a reset", ERROR)
        return codes

    def _stop_workers(self, worker_group: WorkerGroup) -> None:
        self._terminate(patience_s=0)

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = 30) -> None:
        self._terminate(patience_s=0)
