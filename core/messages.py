"""Messages between processes of one machine, with open files of the sender, on a pair of Unix sockets."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

_DESCRIPTORS = 4  # that come with a message, at most: the message's own, and the files of a program


def send(to: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a message with descriptors of this process: in a file in memory, since a socket limits a message's length,
    and the variables of a program may be longer."""
    with os.fdopen(os.memfd_create("message"), "w", encoding="utf-8") as file:
        json.dump(message, file)
        file.flush()
        socket.send_fds(to, [b"\0"], [file.fileno(), *descriptors])


def receive(source: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """A message of :func:`send` and its descriptors; ``None`` once the other end is closed."""
    mark, received, _, _ = socket.recv_fds(source, 1, _DESCRIPTORS)
    if not mark:
        return None
    file, *descriptors = received
    with os.fdopen(file, encoding="utf-8") as opened:
        opened.seek(0)
        return json.load(opened), descriptors
