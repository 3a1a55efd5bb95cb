"""A local server that speaks Anthropic's API, and misbehaves on demand.

Only what the SDK sends and reads: messages, count_tokens, batches. What it bills is what it
counts, so that the sum of `billed` is the truth about a budget.
"""

import base64
import json
import re
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
OUTPUT = 120
KEYS = {"key", "Bearer key"}  # `x-api-key` of older SDKs, `authorization` of newer ones
EMPTY = {"summary": "Someone speaks.", "emotion": "neutral", "confidence": 0.5}
GOOD = {
    "flag": {"face": "still", "body": "still", "explanation": "none", "error": False, **EMPTY},
    "keyframe": {"people": 1, "behaviour": "talks", "gaze": "ahead", "setting": "room", **EMPTY},
    "no_face": {"people": 0, "faces": [], "reason": "dark", **EMPTY},
    "facs": {"units": [], "explanation": "nothing", **EMPTY},
    "line": EMPTY,
}


@dataclass
class Server:
    """What the server was asked, and how it is to behave.

    Attributes:
        orders: What to do with the next messages, first in first out: a status, or `malformed`,
            `refuse`, `cut answer`, `garbage`, `text`, `hang` and `drop` (before a byte), `stall`
            and `broken` (in the middle of the body), `slow`; an object is the answer itself.
            Where none is left it answers well.
        order_of: What to do with a message, by the text of its question; before `orders`.
        paths: Every request, in order.
        bodies: Every message asked, batches' among them.
        billed: Tokens in and out of every answer that was produced, also if nobody got it.
        counting: `well`, or the status of every answer to count_tokens.
    """

    orders: list[Any] = field(default_factory=list)
    order_of: Callable[[str], Any] | None = None
    paths: list[str] = field(default_factory=list)
    bodies: list[dict] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    billed: list[tuple[int, int]] = field(default_factory=list)
    batches: dict[str, dict] = field(default_factory=dict)
    counting: Any = "well"
    output: int = OUTPUT
    delay_s: float = 0.0
    polls: int = 1
    batch_orders: list[Any] = field(default_factory=list)
    cached: dict[str, int] = field(default_factory=dict)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, path: str = "/v1/messages") -> int:
        """How many requests came in on a path."""
        return self.paths.count(path)

    def dollars(self, price_in: float = 2.0, price_out: float = 10.0) -> float:
        """What all of it cost at prices per million tokens, without caches."""
        return sum(i * price_in + o * price_out for i, o in self.billed) / 1e6


def tokens_in(body: dict) -> int:
    """Tokens of a prompt: four bytes of text each, and 28 x 28 pixels of a picture."""
    total = len(json.dumps(body.get("system", ""))) // 4
    for part in body["messages"][0]["content"]:
        if part["type"] == "text":
            total += len(part["text"]) // 4
        else:
            width, height = jpeg_size(base64.b64decode(part["source"]["data"]))
            total += -(-width // 28) * -(-height // 28)
    return total


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Width and height from the header."""
    at = 2
    while jpeg[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    height, width = struct.unpack(">HH", jpeg[at + 5 : at + 9])
    return width, height


def question_of(body: dict) -> str:
    """The text that a message asks."""
    return body["messages"][0]["content"][-1]["text"]


def answered(server: Server, body: dict, order: Any) -> dict:  # noqa: ANN401
    """A message, billed."""
    kind = next(k for k, good in GOOD.items() if all(n in json.dumps(body["system"]) for n in good))
    stop, text, details = "end_turn", json.dumps(GOOD[kind]), None
    if isinstance(order, dict):
        text = json.dumps(order)
    elif order == "malformed":
        text = '{"summary": "no more than that"}'
    elif order == "text":
        text = "I would rather talk."
    elif order == "refuse":
        stop, text = "refusal", ""
        details = {"type": "refusal", "category": None, "explanation": "Not this one."}
    elif order == "cut answer":
        stop, text = "max_tokens", text[:20]
    count = tokens_in(body)
    usage: dict[str, Any] = {"input_tokens": count, "output_tokens": server.output}
    system = body["system"][0]
    if server.cached is not None and "cache_control" in system and "cache" in server.cached:
        size = len(json.dumps(system)) // 4
        known = system["text"] in server.cached
        server.cached[system["text"]] = size
        usage["input_tokens"] = count - size
        usage["cache_read_input_tokens" if known else "cache_creation_input_tokens"] = size
        if not known:
            ttl = system["cache_control"]["ttl"]
            write = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
            usage["cache_creation"] = {**write, f"ephemeral_{ttl}_input_tokens": size}
    server.billed.append((count, server.output))
    return {
        "id": f"msg_{len(server.billed):06d}",
        "type": "message",
        "role": "assistant",
        "model": f"{body['model']}-20261001",
        "content": [{"type": "text", "text": text}],
        "stop_reason": stop,
        "stop_details": details,
        "stop_sequence": None,
        "usage": usage,
    }


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    state: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        """Batches: state, results, list."""
        path = self.path.split("?")[0]
        with self.state.lock:
            self.state.paths.append(re.sub(r"msgbatch_\w+", "ID", path))
        if path == "/v1/messages/batches":
            newest = sorted(self.state.batches.values(), key=lambda b: b["id"], reverse=True)
            data = [self.public(batch) for batch in newest]
            ids = {"first_id": None, "last_id": None}
            self.reply(200, {"data": data, "has_more": False, **ids})
            return
        name = path.split("/")[4]
        batch = self.state.batches.get(name)
        if batch is None:
            self.fail(404)
        elif path.endswith("/results"):
            lines = [json.dumps(line) for line in reversed(batch["results"])]
            content = "\n".join(lines).encode() + b"\n"
            if self.state.batch_orders[:1] == ["broken results"]:
                self.state.batch_orders.pop(0)
                self.reply(200, content, "application/x-jsonl", keep=len(content) // 2)
            else:
                self.reply(200, content, "application/x-jsonl")
        else:
            with self.state.lock:
                batch["polls"] -= 1
            self.reply(200, self.public(batch))

    def do_POST(self) -> None:
        """Messages, counts, batches."""
        size = int(self.headers["content-length"])
        body, state = json.loads(self.rfile.read(size)), self.state
        with state.lock:
            state.paths.append(self.path)
            state.headers.append(dict(self.headers))
        if KEYS.isdisjoint(self.headers.values()):
            self.fail(401)
        elif self.path.startswith("/v1/messages/count_tokens"):
            if state.counting == "well":
                self.reply(200, {"input_tokens": tokens_in(body)})
            else:
                self.fail(state.counting)
        elif self.path.startswith("/v1/messages/batches"):
            self.batch(body)
        else:
            self.message(body)

    def message(self, body: dict) -> None:
        """Answer one message."""
        state = self.state
        time.sleep(state.delay_s)
        with state.lock:
            state.bodies.append(body)
            order = state.order_of(question_of(body)) if state.order_of else None
            if order is None and state.orders:
                order = state.orders.pop(0)
            if isinstance(order, int) or order == "drop":
                found = None
            else:
                found = answered(state, body, order)
        if isinstance(order, int):
            self.fail(order)
        elif order == "drop":
            self.close_connection = True
        elif order == "hang":
            time.sleep(3)
            self.close_connection = True
        elif order == "garbage":
            self.reply(200, b'{"id": "msg_1", "content": [', "application/json")
        elif order == "broken":
            self.reply(200, found, keep=60)
        elif order == "slow":
            self.reply(200, found, pause_s=0.05)
        elif order == "stall":
            self.reply(200, found, pause_s=3.0)
        else:
            self.reply(200, found)

    def batch(self, body: dict) -> None:
        """Make a batch."""
        state = self.state
        order = state.batch_orders.pop(0) if state.batch_orders else None
        if isinstance(order, int):
            self.fail(order)
            return
        results = []
        with state.lock:
            for request in body["requests"]:
                state.bodies.append(request["params"])
                text = question_of(request["params"])
                how = state.order_of(text) if state.order_of else None
                how = how or (state.orders.pop(0) if state.orders else None)
                if how in ("canceled", "expired"):
                    result: dict[str, Any] = {"type": how}
                elif isinstance(how, int):
                    error = {"type": ERRORS[how], "message": "no"}
                    result = {"type": "errored", "error": {"type": "error", "error": error}}
                else:
                    message = answered(state, request["params"], how)
                    result = {"type": "succeeded", "message": message}
                results.append({"custom_id": request["custom_id"], "result": result})
            name = f"msgbatch_{len(state.batches):04d}"
            made = {"id": name, "polls": state.polls, "results": results, "at": time.time()}
            state.batches[name] = made
        if order == "drop":
            self.close_connection = True
            return
        self.reply(200, self.public(made))

    def public(self, batch: dict) -> dict:
        """A batch as the API shows it."""
        ended = batch["polls"] < 0
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        for result in batch["results"]:
            counts[result["result"]["type"] if ended else "processing"] += 1
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(batch["at"]))
        results_url = f"{self.state.url}/v1/messages/batches/{batch['id']}/results"
        return {
            "id": batch["id"],
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts,
            "created_at": stamp,
            "expires_at": stamp,
            "ended_at": stamp if ended else None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": results_url if ended else None,
        }

    def fail(self, status: int) -> None:
        """An error as the API has it."""
        error = {"type": ERRORS.get(status, "api_error"), "message": f"you asked for {status}"}
        body = {"type": "error", "error": error, "request_id": "req_x"}
        self.reply(status, body, headers={"retry-after-ms": "10"})

    def reply(
        self,
        status: int,
        body: Any,  # noqa: ANN401
        kind: str = "application/json",
        *,
        keep: int | None = None,
        pause_s: float = 0.0,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Send a body, or a part of it, or slowly."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.send_header("request-id", f"req_{len(self.state.paths):06d}")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if pause_s:
                for at in range(0, len(content), 40):
                    self.wfile.write(content[at : at + 40])
                    self.wfile.flush()
                    time.sleep(pause_s)
            else:
                self.wfile.write(content[:keep])
                self.close_connection = keep is not None


class Quiet(ThreadingHTTPServer):
    """Many connections, no complaints about those that the other side dropped."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """A dropped connection is part of the test."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port of this machine, for as long as the block runs."""
    state = Server()
    http = Quiet(("127.0.0.1", 0), type("Bound", (Handler,), {"state": state}))
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()
