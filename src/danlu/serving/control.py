"""What the supervisor and its workers say to one another: JSON, a line each, over a pair of sockets."""

import json
import socket
from typing import Any

Message = dict[str, Any]
MOST_AT_ONCE = 65_536


class Channel:
    """Send and take messages over a socket that never blocks its reader."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self._rest = b""

    def send(self, message: Message) -> bool:
        """Send a message; False where nobody is at the other end."""
        try:
            self.link.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> list[Message] | None:
        """Return the messages that have come; None once the other end is closed."""
        try:
            data = self.link.recv(MOST_AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Close it."""
        self.link.close()


def channel_pair() -> tuple[Channel, Channel]:
    """Return both ends of a new channel."""
    here, there = socket.socketpair()
    return Channel(here), Channel(there)
