"""Middleware for every request and every answer."""

import anyio
from fastapi.responses import JSONResponse

_READ_SECONDS = 30

SAFE_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_ENCODED = [(name.encode(), value.encode()) for name, value in SAFE_HEADERS.items()]


class SafeHeaders:
    """Add headers that restrict a browser to the files of this server."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_ENCODED]
            await send(message)

        http = scope["type"] == "http"
        await self._app(scope, receive, send_with_headers if http else send)


class BodyLimit:
    """Read the body of a request, and refuse one that is too long or too slow."""

    def __init__(self, app, max_body, seconds=_READ_SECONDS):
        self._app, self._max_body, self._seconds = app, max_body, seconds

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            with anyio.fail_after(self._seconds):
                body = await self._read(scope, receive)
        except _TooLong:
            detail = f"The body has more than {self._max_body:,} bytes."
            await JSONResponse({"detail": detail}, 413)(scope, receive, send)
            return
        except TimeoutError:
            detail = f"The body did not arrive within {self._seconds} seconds."
            await JSONResponse({"detail": detail}, 408)(scope, receive, send)
            return
        except ConnectionResetError:
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay():
            return messages.pop() if messages else await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope, receive):
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self._max_body:
            raise _TooLong
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body:
                raise _TooLong
            more = message.get("more_body", False)
        return b"".join(parts)


class _TooLong(Exception):
    pass
