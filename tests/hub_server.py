"""A small hub on loopback: what huggingface_hub, transformers and datasets ask for, and nothing more."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Hub:
    """Repositories to serve: id -> folder. `url` goes into HF_ENDPOINT; `asked` collects every request."""

    models: Mapping[str, Path] = field(default_factory=dict)
    datasets: Mapping[str, Path] = field(default_factory=dict)
    gated: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def variables(self, home: Path) -> dict[str, str]:
        """Return the environment in which a fresh process sees this hub and an empty cache."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*", "no_proxy": "*"}


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve until the block ends."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).strip("/")
            hub.asked.append(f"{self.command} /{path}")
            parts = path.split("/")
            if parts[0] == "api" and len(parts) >= 4 and parts[1] in ("models", "datasets"):
                self._api(parts[1], "/".join(parts[2:4]), parts[4:], body)
            elif "resolve" in parts:
                at = parts.index("resolve")
                kind = "datasets" if parts[0] == "datasets" else "models"
                self._file(kind, "/".join(parts[at - 2 : at]), parts[at + 1], "/".join(parts[at + 2 :]))
            else:
                self._refuse(404, "", "no such page")

        def _repository(self, kind: str, name: str) -> Path | None:
            if name in hub.gated:
                self._refuse(401, "GatedRepo", f"Access to {kind[:-1]} {name} is restricted. You must have access to it and be authenticated to access it.")
                return None
            folder: Path | None = getattr(hub, kind).get(name)
            if folder is None:  # the real hub does not tell strangers a private repository from one that is not there
                self._refuse(401, "RepoNotFound", "Invalid username or password.")
            return folder

        def _api(self, kind: str, name: str, rest: list[str], body: bytes) -> None:
            folder = getattr(hub, kind).get(name) if name in hub.gated and not rest else self._repository(kind, name)
            if folder is None:
                return
            files = sorted(p for p in folder.rglob("*") if p.is_file())
            names = [p.relative_to(folder).as_posix() for p in files]
            if not rest or rest in (["revision", "main"], ["revision", _commit(name)]):
                facts = {"_id": "1", "id": name, "sha": _commit(name), "private": False, "gated": "auto" if name in hub.gated else False, "disabled": False}
                more = {"downloads": 0, "likes": 0, "tags": [], "lastModified": "2026-01-01T00:00:00.000Z", "siblings": [{"rfilename": n} for n in names]}
                self._json({**facts, **more})
            elif rest[0] == "revision":
                self._refuse(404, "RevisionNotFound", f"Invalid rev id: {rest[1]}")
            elif rest[0] == "tree":
                inside = "/".join(rest[2:])
                shown = [_entry(p, n) for p, n in zip(files, names, strict=True) if not inside or n.startswith(f"{inside}/")]
                if inside and not shown:
                    self._refuse(404, "EntryNotFound", f"{inside} does not exist")
                    return
                self._json(shown)
            elif rest[0] == "paths-info":
                wanted = json.loads(body)["paths"] if body.startswith(b"{") else urllib.parse.parse_qs(body.decode())["paths"]
                self._json([_entry(p, n) for p, n in zip(files, names, strict=True) if n in wanted])
            else:
                self._refuse(404, "", "no such page")

        def _file(self, kind: str, name: str, revision: str, file: str) -> None:
            folder = self._repository(kind, name)
            if folder is None:
                return
            if revision not in ("main", _commit(name)):
                self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
                return
            path = folder / file
            if not path.is_file():
                self._refuse(404, "EntryNotFound", "Entry not found")
                return
            raw = path.read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(raw).hexdigest()}"', "X-Repo-Commit": _commit(name), "Accept-Ranges": "bytes"}
            self._send(200, raw, "application/octet-stream", headers)

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode(), "application/json", {})

        def _refuse(self, status: int, code: str, message: str) -> None:
            headers = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
            self._send(status, json.dumps({"error": message}).encode(), "application/json", headers)

        def _send(self, status: int, raw: bytes, kind: str, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {"Content-Type": kind, "Content-Length": str(len(raw)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(raw)

    return Handler


def _commit(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()


def _entry(path: Path, name: str) -> dict[str, Any]:
    raw = path.read_bytes()
    return {"type": "file", "path": name, "size": len(raw), "oid": hashlib.sha1(raw).hexdigest()}
