"""What a request may be, kept before the application sees it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from recurra.recsys.serving.metrics import ServiceMetrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class ServeLimits:
    """What one request may ask for, and what all that wait may.

    Attributes:
        body_bytes: of a request's body.
        events: of a history, and of new ones with it.
        k: items of a list.
        seconds: until the body is here, and again until the answer is.
        waiting: requests that wait for the network; one more is turned away at once.
        batch: requests that the network answers together.
        users: whose states are kept, where the model streams.
    """

    body_bytes: int = 1 << 20
    events: int = 10_000
    k: int = 1_000
    seconds: float = 10.0
    waiting: int = 1_024
    batch: int = 64
    users: int = 10_000


class RequestError(Exception):
    """A request that gets a status and one line in place of an answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class LimitedRequests:
    """ASGI middleware: bodies that are too large or too slow are refused; every request counts."""

    def __init__(self, app: App, limits: ServeLimits, metrics: ServiceMetrics) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            body = await self._read(receive)
            if body is not None:
                await self._app(scope, _replay(body, receive), counted)
        except RequestError as error:
            await _refuse(counted, error)
        finally:
            self._metrics.observe(str(scope["path"]), status, time.perf_counter() - start)

    async def _read(self, receive: Receive) -> bytes | None:
        """Return the whole body, or None where the client has gone."""
        limit, parts, size = self._limits.body_bytes, [], 0
        try:
            async with asyncio.timeout(self._limits.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise RequestError(413, f"the body is over {limit} bytes; send less")
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            seconds = self._limits.seconds
            raise RequestError(408, f"the body was not here within {seconds:g} s") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand over the body that was read, then whatever comes after it."""
    read = False

    async def replaying() -> Message:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replaying


async def _refuse(send: Send, error: RequestError) -> None:
    import json

    body = json.dumps({"error": str(error)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what is left of the request's body is not read
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
