"""Forks of a process that has imported what takes long: a program's start costs milliseconds, and it is alone in it.

A `Forks` starts one such process, `python -m tests.support.forks MODULE ...`, when it is first asked, and speaks with
it over a socket: a request is a function with its arguments and three open files, the answer its process's number and,
at its end, its exit code. A fork has begun nothing: no threads, no randomness, no work.
"""

import atexit
import importlib
import json
import multiprocessing.util
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).parents[2]
REQUEST_BYTES = 1 << 20


class Process:
    """A started fork; it answers as a `subprocess.Popen` without pipes does."""

    def __init__(self, link: socket.socket, words: Sequence[str]) -> None:
        self.args, self.returncode = list(words), None
        self._lines = link.makefile("r")
        link.close()
        self.pid = int(self._lines.readline())

    returncode: int | None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if timeout is not None and not select.select([self._lines], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._lines.readline())
            self._lines.close()
        return self.returncode

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """Hold a process that has imported some modules, and fork it.

    Attributes:
        modules: what is imported before any fork.
    """

    def __init__(self, *modules: str) -> None:
        self.modules = modules
        self._address: str | None = None

    def start(
        self,
        call: str,
        *arguments: Any,
        cwd: Path | None = None,
        stdin: int | None = None,
        stdout: int = 1,
        stderr: int = 2,
    ) -> Process:
        """Call a function in a fork.

        Args:
            call: `module:function`.
            arguments: plain values.
            cwd: the folder to be in.
            stdin, stdout, stderr: open files.
        """
        link = socket.socket(socket.AF_UNIX)
        link.connect(self._running())
        request = json.dumps([call, arguments, str(cwd or Path.cwd()), dict(os.environ)]).encode()
        with Path(os.devnull).open() as nothing:
            given = [nothing.fileno() if stdin is None else stdin, stdout, stderr]
            socket.send_fds(link, [len(request).to_bytes(4, "big")], given)
            link.sendall(request)
            return Process(link, [call, *map(str, arguments)])

    def run(
        self, call: str, *arguments: Any, timeout: float, cwd: Path | None = None, text: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Call a function in a fork, and return its exit code and output.

        Args:
            timeout: s, after which it is killed.
            text: its input.
        """
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(text.encode())
            given.seek(0)
            files = {"stdin": given.fileno(), "stdout": out.fileno(), "stderr": err.fileno()}
            process = self.start(call, *arguments, cwd=cwd, **files)

            def said(file: "IO[bytes]") -> str:
                file.seek(0)
                return file.read().decode()

            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise subprocess.TimeoutExpired(process.args, timeout, said(out), said(err)) from None
            return subprocess.CompletedProcess(process.args, code, said(out), said(err))

    def _running(self) -> str:
        """Return the address of the process, which is started where there is none yet."""
        if self._address is None:
            folder = tempfile.mkdtemp(prefix="forks-")
            words = [sys.executable, "-m", "tests.support.forks", f"{folder}/socket", *self.modules]
            path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
            )
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n", "it says why on stderr"
            atexit.register(process.communicate)  # its input ends, and so does it
            self._address = f"{folder}/socket"
        return self._address


def program(code: str, *arguments: str) -> None:
    """Run a program as `python -c` does."""
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})


def main(address: str, *modules: str) -> None:
    """Import, then fork for whoever connects, until the input ends."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        for module in modules:
            importlib.import_module(module)
        os.write(1, b"ready\n")
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(wake)
        running: dict[int, socket.socket] = {}
        while True:
            watched: list[Any] = [0, woken, listening]
            ready = select.select(watched, [], [])[0]
            if 0 in ready:  # it has ended
                Path(address).unlink()
                Path(address).parent.rmdir()
                return
            if woken in ready:
                os.read(woken, 4096)
                _tell_ended(running)
            if listening in ready:
                link = listening.accept()[0]
                pid = os.fork()
                if pid == 0:
                    _serve_in_fork(link, [listening, *running.values()], (woken, wake))
                running[pid] = link


def _tell_ended(running: dict[int, socket.socket]) -> None:
    """Say the exit code of each fork that has ended to whoever asked for it."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with running.pop(pid) as link, suppress(OSError):  # nobody waits for it
            link.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _serve_in_fork(link: socket.socket, others: Sequence[socket.socket], pipes: Sequence[int]) -> None:
    """Read a request, do it, and end as an interpreter does."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for other in others:
        other.close()
    size, files, _, _ = socket.recv_fds(link, 4, 3)
    text = b""
    while len(text) < int.from_bytes(size, "big"):
        text += link.recv(REQUEST_BYTES)
    link.sendall(f"{os.getpid()}\n".encode())
    link.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in (*files, *pipes):
        os.close(file)
    call, arguments, cwd, environment = json.loads(text)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    code = 1
    try:
        module, _, name = call.partition(":")
        getattr(importlib.import_module(module), name)(*arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:  # the last that could say what happened
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        multiprocessing.util._exit_function()  # type: ignore[attr-defined]
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
