"""A data hub on this machine, as the hub's own client sees one."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_of_the_test"
COMMIT = "5" * 40


@dataclass
class Hub:
    """What a hub has, what is wrong with it, and what it was asked."""

    repository: str
    files: dict[str, bytes]
    url: str = ""
    listing: dict[str, Any] = field(default_factory=dict)  # what differs in its list of files
    cut: int | None = None  # bytes of its next answer after which it hangs up
    unavailable: int = 0  # requests for content answered with 503, after the cut
    ranges: bool = True  # whether it can send a part of a file
    tag: str | None = None  # stated instead of the SHA-256
    refusal: tuple[int, dict[str, str]] | None = None
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def downloads(self) -> list[str | None]:
        """The ranges of the requests for content."""
        return [
            part for method, path, part in self.requests if method == "GET" and "/api/" not in path
        ]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.respond()

    def do_GET(self) -> None:
        self.respond()

    def respond(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        hub.requests.append((self.command, self.path, self.headers["Range"]))
        path = unquote(urlsplit(self.path).path)
        file = re.fullmatch(f"/datasets/{hub.repository}/resolve/(main|{COMMIT})/(.+)", path)
        if hub.refusal is not None:
            self.refuse(*hub.refusal)
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.refuse(401, {"X-Error-Code": "GatedRepo"})
        elif path == f"/api/datasets/{hub.repository}/revision/main":
            self.list(hub)
        elif file is None or file[2] not in hub.files:
            self.refuse(404, {"X-Error-Code": "EntryNotFound"})
        elif self.command == "GET" and hub.cut is None and hub.unavailable > 0:
            hub.unavailable -= 1
            self.refuse(503, {})
        else:
            self.send(hub, hub.files[file[2]])

    def refuse(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def list(self, hub: Hub) -> None:
        names = [{"rfilename": name} for name in hub.files]
        answer = {"id": hub.repository, "sha": COMMIT, "siblings": names} | hub.listing
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send(self, hub: Hub, content: bytes) -> None:
        part = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "") if hub.ranges else None
        start = int(part[1]) if part else 0
        body, size = content[start:], len(content)
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        tag = hub.tag or hashlib.sha256(content).hexdigest()
        self.send_header("ETag", '"of-the-pointer"')
        self.send_header("X-Linked-ETag", f'"{tag}"')
        self.send_header("X-Linked-Size", str(size))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            if hub.cut is not None:
                body, hub.cut = body[: hub.cut], None
                self.close_connection = True
            self.wfile.write(body)


@contextmanager
def serving(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub, and make it the one that the client asks, with a token that it knows."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    # What waits between two tries of the client's own.
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    # What arrives is written in pieces of this size; the client's own are 10 MB.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()
