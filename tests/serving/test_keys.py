"""API keys: who is let in, how often, and what a file of keys may hold."""

import hashlib
import os
from pathlib import Path

import pytest

from danlu.errors import ArgumentError
from danlu.serving.keys import Gate, Key, key_of, read_keys
from danlu.serving.refusals import Refusal

SHA = hashlib.sha256(b"secret").hexdigest()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_holds_names_hashes_and_limits(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# who\n\nshop {SHA}\nkiosk {'0' * 64} 2.5\n", encoding="utf-8")
    digest = bytes.fromhex(SHA)
    assert read_keys(path) == (Key("shop", digest), Key("kiosk", bytes(32), 2.5))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no key"),
        ("shop secret", "line 1"),
        (f"shop {SHA} often", "requests per second"),
        (f"shop {SHA} 0", "requests per second"),
        (f"shop {SHA} nan", "requests per second"),
        (f"shop {SHA}\nshop {'0' * 64}", "twice"),
    ],
)
def test_what_is_no_key_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArgumentError, match=said):
        read_keys(path)


def test_only_a_known_key_is_let_in() -> None:
    gate = Gate((Key("shop", bytes.fromhex(SHA)),), Clock())
    assert gate.enter(b"secret") == Key("shop", bytes.fromhex(SHA))
    for wrong in (b"", b"Secret", SHA.encode()):
        refused = gate.enter(wrong)
        assert isinstance(refused, Refusal) and refused.status == 401


def test_a_limit_lets_so_many_in_per_second() -> None:
    clock = Clock()
    gate = Gate((Key("shop", bytes.fromhex(SHA), 2.0),), clock)
    entered = [isinstance(gate.enter(b"secret"), Key) for _ in range(4)]
    assert entered == [True, True, False, False]
    refused = gate.enter(b"secret")
    assert isinstance(refused, Refusal) and (refused.status, refused.retry_s) == (429, 1)
    clock.now += 0.5
    assert isinstance(gate.enter(b"secret"), Key)
    assert isinstance(gate.enter(b"secret"), Refusal)


def test_a_limit_holds_for_all_processes_together() -> None:
    gate = Gate((Key("shop", bytes.fromhex(SHA), 100.0),), Clock())
    read, write = os.pipe()
    for _ in range(3):
        if os.fork() == 0:
            os.write(write, bytes(isinstance(gate.enter(b"secret"), Key) for _ in range(150)))
            os._exit(0)
    entered = b"".join(os.read(read, 150) for _ in range(3))
    for _ in range(3):
        os.wait()
    os.close(read), os.close(write)
    assert (len(entered), sum(entered)) == (450, 100)


def test_a_key_is_read_from_either_header() -> None:
    assert key_of([(b"host", b"x"), (b"authorization", b"Bearer secret")]) == b"secret"
    assert key_of([(b"x-api-key", b"secret")]) == b"secret"
    assert key_of([(b"authorization", b"Basic c2VjcmV0")]) == b""
