"""Outlives a supervisor that was killed, for as long as it takes to end what that one had started.

``python -m deploy.stack.watcher MARK SECONDS`` waits for the end of its standard input, which the supervisor holds open
and which the kernel closes whatever way the supervisor ends.
"""

from __future__ import annotations

import signal
import sys

from deploy.stack.process import sweep


def main(mark: str, seconds: float) -> None:
    # A terminal's Ctrl-C and a group's SIGTERM are the supervisor's business.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    sweep(mark, seconds)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
