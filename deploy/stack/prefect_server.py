"""What ``prefect server start`` does in its process, around the same application, with Prefect's own variables.

``python -m deploy.stack.prefect_server --host HOST --port PORT`` serves behind the guard. ``--fd NUMBER`` serves at a
socket at which whoever started it listens, and leaves the guarding to Prefect's own password: requests that come while
no server is there wait in that socket for the next one.
"""

from __future__ import annotations

import argparse
import socket

from deploy.stack.guard import guarded

LOG_LEVEL = "warning"  # below it, uvicorn writes down every address that is asked for


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.stack.prefect_server")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--port", type=int)
    place.add_argument("--fd", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()

    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    app, api = create_app(final=True), get_current_settings().server.api
    options = {
        "timeout_keep_alive": api.keepalive_timeout,
        "ws_ping_interval": api.websocket_ping_interval,
        "ws_ping_timeout": api.websocket_ping_timeout,
        "log_level": LOG_LEVEL,
    }
    if arguments.fd is None:
        uvicorn.run(guarded(app), host=arguments.host, port=arguments.port, **options)
    else:
        uvicorn.Server(uvicorn.Config(app, **options)).run([socket.socket(fileno=arguments.fd)])


if __name__ == "__main__":
    main()
