"""A server on this machine that speaks the chat-completions protocol, by a script."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text, *, finish_reason="stop", usage=(11, 7)):
    """Body of a chat completion."""
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text},
            }
        ],
    }
    if usage is not None:
        prompt, answer = usage
        body["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
        }
    return body


class Answer:
    """What the server does with one request."""

    def __init__(
        self, body, status=200, *, delay=0.0, headers=None, drip=None, head_drip=None
    ):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.body, self.status, self.delay = body, status, delay
        self.headers, self.drip, self.head_drip = headers or {}, drip, head_drip


class ChatServer:
    """Answers with ``script(request number, parsed body)``; keeps what it was sent."""

    def __init__(self, script):
        self.script, self.requests, self.headers = script, [], []
        self._lock, self.most_at_once, self._now = threading.Lock(), 0, 0

    @property
    def prompts(self):
        """User messages of all requests, parsed."""
        return [json.loads(r["messages"][1]["content"]) for r in self.requests]


@contextmanager
def serving(script):
    """Run a `ChatServer`; its ``url`` is the base_url."""
    state = ChatServer(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            size = int(self.headers["content-length"])
            body = self.rfile.read(size)
            if len(body) < size:  # the client has given up
                return
            request = json.loads(body)
            with state._lock:
                number = len(state.requests)
                state.requests.append(request)
                state.headers.append(dict(self.headers))
                state._now += 1
                state.most_at_once = max(state.most_at_once, state._now)
            try:
                answer = state.script(number, request)
                if not isinstance(answer, Answer):
                    answer = Answer(answer)
                time.sleep(answer.delay)
                self.respond(answer)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has given up
            finally:
                with state._lock:
                    state._now -= 1

        def respond(self, answer):
            if answer.head_drip is not None:  # headers without an end
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                for _ in range(1000):
                    self.wfile.write(b"x: y\r\n")
                    self.wfile.flush()
                    time.sleep(answer.head_drip)
            self.send_response(answer.status)
            headers = {"content-type": "application/json"} | answer.headers
            headers.setdefault("content-length", str(len(answer.body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            # Less than was promised: hang up, or the client would wait for the rest.
            self.close_connection = int(headers["content-length"]) > len(answer.body)
            if answer.drip is None:
                self.wfile.write(answer.body)
                return
            for i in range(len(answer.body)):  # a byte at a time
                self.wfile.write(answer.body[i : i + 1])
                self.wfile.flush()
                time.sleep(answer.drip)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
