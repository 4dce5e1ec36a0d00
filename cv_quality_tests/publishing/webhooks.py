"""A webhook on this machine that keeps what it receives."""

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[str]:
    """Serve from a thread; gives host and port."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def webhook(received: list[Any], *, status: int = 200, location: str = "") -> Iterator[str]:
    """Serve a webhook that keeps what it receives; gives its address."""

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with serving(http.server.HTTPServer(("127.0.0.1", 0), Hook)) as place:
        yield f"http://{place}/services/SECRET"
