"""A PostgreSQL server of a test's own, where the machine has one."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database; skip the test where there is no server or no driver."""
    pytest.importorskip("pg8000", reason="the extra [postgres] is not installed")
    initdb, server = _program("initdb"), _program("postgres")
    if initdb is None or server is None:
        pytest.skip("needs PostgreSQL's server")
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = next((name for name in ("postgres", "nobody") if _exists(name)), None)
        if user is None:
            pytest.skip("PostgreSQL does not run as root, and there is no other user")
    # Of a test's folders only root may see, and other users may not pass through them.
    data = Path("/tmp") / f"danlu-postgres-{os.getpid()}" if user else folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    if user:
        shutil.chown(data, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run(
        [initdb, "-D", str(data / "db"), "-U", "danlu", "-A", "trust", "--no-sync"],
        check=True, capture_output=True, user=user, cwd=data,
    )  # fmt: skip
    settings = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}"]
    running = subprocess.Popen(
        [server, "-D", str(data / "db"), "-p", str(port), *settings],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd=data,
    )  # fmt: skip
    try:
        _wait(port)
        yield f"postgresql://danlu@127.0.0.1:{port}/postgres"
    finally:
        running.terminate()
        running.wait(30)
        shutil.rmtree(data, ignore_errors=True)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _wait(port: int) -> None:
    import time

    from pg8000.exceptions import DatabaseError, InterfaceError
    from pg8000.native import Connection

    until = time.monotonic() + 60
    while True:
        try:
            Connection("danlu", host="127.0.0.1", port=port, database="postgres").close()
        except (DatabaseError, InterfaceError, OSError):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return
