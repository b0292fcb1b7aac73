"""A server on this machine that speaks the chat-completions protocol, by a script."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace


def completion(text, usage=(11, 7), end="stop"):
    """Body of a chat completion; `end` is why it ends."""
    message = {"role": "assistant", "content": text}
    body = {"choices": [{"index": 0, "finish_reason": end, "message": message}]}
    body["usage"] = dict(
        zip(("prompt_tokens", "completion_tokens"), usage, strict=True)
    )
    return body | {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}


class Answer:
    """What the server does with one request."""

    def __init__(self, body, status=200, *, delay=0.0, headers=()):
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.delay = status, delay
        self.headers = {"content-type": "application/json"} | dict(headers)
        self.headers.setdefault("content-length", str(len(self.body)))


@contextmanager
def serving(script):
    """Answer with ``script(request number, parsed body)``, an `Answer` or its body.

    Yields the address as ``url``, the bodies and headers (lower case) of all requests,
    and the largest number of requests at a time.
    """
    state = SimpleNamespace(requests=[], headers=[], now=0, most_at_once=0)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                number = len(state.requests)
                state.requests.append(body)
                state.headers.append({k.lower(): v for k, v in self.headers.items()})
                state.now += 1
                state.most_at_once = max(state.most_at_once, state.now)
            answer = script(number, body)
            answer = answer if isinstance(answer, Answer) else Answer(answer)
            time.sleep(answer.delay)
            with lock:
                state.now -= 1
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            # Less than was promised: hang up, or the client would wait for the rest.
            promised = int(answer.headers["content-length"])
            self.close_connection = promised > len(answer.body)
            self.wfile.write(answer.body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *args: None  # of clients that have given up
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
