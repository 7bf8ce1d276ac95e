"""A real HTTP server on loopback that misbehaves by script: one act per request, in order."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Json


@dataclass
class FaultServer:
    """What was asked, and what is done next. ``always`` acts when the script is at its end."""

    script: list[Act]
    always: Act | None
    seen: list[Seen] = field(default_factory=list)
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    under_way: int = 0
    most_under_way: int = 0

    @property
    def chats(self) -> list[Json]:
        """The bodies of all chat requests."""
        return [seen.body for seen in self.seen if seen.path.endswith("/chat/completions")]

    def next_act(self, seen: Seen) -> Act:
        with self.lock:
            self.seen.append(seen)
            if self.script:
                return self.script.pop(0)
        return self.always or reply({"error": {"message": "the script is at its end"}}, 418)


class Handler(BaseHTTPRequestHandler):
    """Plays one act per request."""

    protocol_version = "HTTP/1.1"
    faults: FaultServer

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._play(json.loads(raw))

    def do_GET(self) -> None:
        self._play({})

    def _play(self, body: Json) -> None:
        faults = self.faults
        act = faults.next_act(Seen(self.command, self.path, dict(self.headers.items()), body))
        with faults.lock:
            faults.under_way += 1
            faults.most_under_way = max(faults.most_under_way, faults.under_way)
        try:
            act(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with faults.lock:
                faults.under_way -= 1

    def log_message(self, *args: object) -> None:
        """Nothing: the tests look at ``seen``."""


Act = Callable[[Handler], None]


@contextmanager
def serving(*script: Act, always: Act | None = None) -> Iterator[FaultServer]:
    """Serve on a free port until the block ends."""
    faults = FaultServer(list(script), always)
    handler = type("Scripted", (Handler,), {"faults": faults})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        faults.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield faults
        finally:
            faults.released.set()
            server.shutdown()
            thread.join()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# ---------------------------------------------------------------------------------------------------- acts


def reply(body: Json | list[Any] | bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Act:
    """A whole response."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def act(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return act


def error(status: int, message: str, headers: Mapping[str, str] | None = None, **fields: object) -> Act:
    """An error in OpenAI's form."""
    return reply({"error": {"message": message, **fields}}, status, headers)


def stream(*events: Json | bytes, done: bool = True, cut: bool = False, pause_s: float = 0.0) -> Act:
    """Server-sent events; ``cut`` drops the connection instead of ending the response."""

    def act(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for event in (*events, *([b"data: [DONE]\n\n"] if done else [])):
            data = event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n"
            handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            handler.wfile.flush()
            if pause_s and handler.faults.released.wait(pause_s):
                break
        if not cut:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    return act


def drop(handler: Handler) -> None:
    """Close the connection without a word."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def drop_after_headers(handler: Handler) -> None:
    """Promise a body and send none."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.close_connection = True


def hang(handler: Handler) -> None:
    """Answer nothing until the test is over."""
    handler.faults.released.wait(20)
    handler.close_connection = True


def slowly(act: Act, seconds: float) -> Act:
    """The same act, later."""

    def later(handler: Handler) -> None:
        time.sleep(seconds)
        act(handler)

    return later


# -------------------------------------------------------------------------------------------------- bodies


def usage(prompt: int, completion: int, **details: int) -> Json:
    found: Json = {"prompt_tokens": prompt, "completion_tokens": completion}
    return found | ({"prompt_tokens_details": details} if details else {})


def delta(content: str | None = None, finish: str | None = None, index: int = 0, **extra: str) -> Json:
    """One piece of a streamed choice."""
    return {
        "model": "m",
        "choices": [{"index": index, "delta": {"content": content, **extra}, "finish_reason": finish}],
    }


def counted(prompt: int, completion: int, **details: int) -> Json:
    """The last piece: the usage."""
    return {"model": "m", "choices": [], "usage": usage(prompt, completion, **details)}


def whole(*contents: str | None, counts: Json | None = None, **extra: str) -> Json:
    """A reply that is not streamed."""
    return {
        "model": "m",
        "choices": [
            {
                "index": n,
                "message": {"role": "assistant", "content": content, **extra},
                "finish_reason": "stop",
            }
            for n, content in enumerate(contents)
        ],
        "usage": counts,
    }


def said(text: str, prompt: int = 10, completion: int = 5) -> Act:
    """A good streamed reply."""
    return stream(delta(text), delta(finish="stop"), counted(prompt, completion))


def listing(*names: str) -> Act:
    """The list of models."""
    return reply({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
