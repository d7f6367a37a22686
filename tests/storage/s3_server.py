"""An S3 server in a process of its own: moto's, one request at a time.

moto looks whether an object is there and creates it in two steps; only because no other request
comes between is its conditional put as exclusive as that of S3. On request it misbehaves as other
servers do: a file in its folder of faults, named

    conflict    answers the next conditional put 409, as S3 does when another is under way
    lost        does the next conditional put, and answers as if it had not
    terse       does not say which condition was not met, as some servers
    careless    overwrites whatever the condition
    cut         after as many requests as it says, answers none, as when the network is cut
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["S3Server", "s3_server"]

ERROR = b"<Error><Code>%s</Code><Message>told to</Message></Error>"


class S3Server:
    """A running server, and how to make it misbehave or stop."""

    def __init__(self, folder: Path) -> None:
        self.faults = folder / "faults"
        self.faults.mkdir(parents=True)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.faults)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "planted-key",
            "AWS_SECRET_ACCESS_KEY": "planted-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def misbehave(self, fault: str, requests: int = 0) -> None:
        """Make the server show a fault."""
        (self.faults / fault).write_text(str(requests))

    def behave(self) -> None:
        """Make the server show no fault."""
        for fault in self.faults.iterdir():
            fault.unlink()

    def stop(self) -> None:
        """End the server, and all that it has."""
        self._process.kill()
        self._process.wait()


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a server."""
    server = S3Server(folder)
    try:
        yield server
    finally:
        server.stop()


def _faulty(app: Any, faults: Path) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    def answer(request: dict[str, Any], start: Any) -> Iterable[bytes]:
        there = set(os.listdir(faults))
        if "cut" in there:
            left = int((faults / "cut").read_text())
            if left == 0:
                request["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                raise ConnectionAbortedError
            (faults / "cut").write_text(str(left - 1))
        if request.get("HTTP_IF_NONE_MATCH") != "*":
            return app(request, start)  # type: ignore[no-any-return]
        if "careless" in there:
            del request["HTTP_IF_NONE_MATCH"]
        for fault, code in (("conflict", b"ConditionalRequestConflict"), ("lost", b"SlowDown")):
            if fault in there:
                (faults / fault).unlink()
                if fault == "lost":
                    list(app(request, lambda *status: None))
                else:
                    request["wsgi.input"].read(int(request.get("CONTENT_LENGTH") or 0))
                status = "409 Conflict" if fault == "conflict" else "503 Slow Down"
                start(status, [("Content-Type", "application/xml")])
                return [ERROR % code]
        body = app(request, start)
        if "terse" in there:
            condition = b"<Condition>If-None-Match</Condition>"
            return [b"".join(body).replace(condition, b" " * len(condition))]
        return body  # type: ignore[no-any-return]

    return answer


def main() -> None:
    from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    app = _faulty(DomainDispatcherApplication(create_backend_app), Path(sys.argv[1]))
    server = make_server("127.0.0.1", 0, app, threaded=False, request_handler=MotoRequestHandler)
    print(server.server_port, flush=True)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    server.serve_forever()


if __name__ == "__main__":
    main()
