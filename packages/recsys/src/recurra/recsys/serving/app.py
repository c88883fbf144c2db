"""The routes: what may be asked, and one line for what may not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Request
from fastapi import Query as Parameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)
from starlette.exceptions import HTTPException

from recurra.core.errors import RecurraError
from recurra.recsys.running import NewEvents
from recurra.recsys.serving.batching import Batcher
from recurra.recsys.serving.limits import LimitedRequests, RequestError, ServeLimits
from recurra.recsys.serving.metrics import ServiceMetrics
from recurra.recsys.serving.service import Query, Service

Id = StrictStr | StrictInt | StrictFloat
LOOPBACK = {"127.0.0.1", "::1"}


class Wanted(BaseModel):
    """The body of `/recommend`: a history of anyone, or a user of the log or of `/events`."""

    model_config = ConfigDict(extra="forbid")

    history: list[Id] | None = None
    user: Id | None = None
    k: StrictInt = Field(10, ge=1)
    seen: StrictBool = False
    only: list[Id] | None = None
    exclude: list[Id] | None = None
    per_category: StrictInt | None = Field(None, ge=1)


class Came(BaseModel):
    """The body of `/events`: what a user took, and, to begin anew, all that they took before."""

    model_config = ConfigDict(extra="forbid")

    # It is kept for as long as the user is, so that it may not take any memory that it likes.
    user: Annotated[StrictStr, Field(max_length=256)] | StrictInt | StrictFloat
    items: list[Id]
    history: list[Id] | None = None


Body = TypeVar("Body", bound=BaseModel)


def create_service_app(
    service: Service, metrics: ServiceMetrics, limits: ServeLimits
) -> LimitedRequests:
    """Make the application: the routes that `recurra-recsys serve --help` names."""
    # Events go the way of queries: a user's are read in the order in which they came, and by one
    # thread, and the lists that are asked for behind them know them.
    batcher: Batcher[Query | NewEvents, dict[str, object] | RequestError]
    batcher = Batcher(service.answer, limits)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        work = asyncio.create_task(batcher.run())
        yield
        work.cancel()

    app = FastAPI(title="recurra-recsys", lifespan=lifespan, docs_url=None, redoc_url=None)
    _answer_errors_in_one_line(app)

    async def answered(asked: Query | NewEvents) -> JSONResponse:
        answer = await batcher.ask(asked)
        if isinstance(answer, RequestError):
            raise answer
        return JSONResponse(answer)

    # FastAPI would read the body as JSON, then as `Wanted`, which takes as long as all the rest.
    @app.post("/recommend", openapi_extra=_described(Wanted))
    async def recommend(request: Request) -> JSONResponse:
        wanted = _read(Wanted, await request.body(), request)
        if (wanted.history is None) == (wanted.user is None):
            raise RequestError(400, "give a history or a user, one of the two")
        if len(wanted.history or ()) > limits.events:
            raise RequestError(400, f"the history has over {limits.events} events; send the last")
        query = Query(
            wanted.history,
            wanted.user,
            _checked(wanted.k, limits),
            not wanted.seen,
            wanted.only,
            wanted.exclude,
            wanted.per_category,
        )
        return await answered(query)

    @app.post("/events", openapi_extra=_described(Came))
    async def events(request: Request) -> JSONResponse:
        came = _read(Came, await request.body(), request)
        if len(came.items) + len(came.history or ()) > limits.events:
            raise RequestError(400, f"there are over {limits.events} events; send the last")
        return await answered(NewEvents(came.user, came.items, came.history))

    @app.get("/similar")
    async def similar(item: str, k: Annotated[int, Parameter(ge=1)] = 10) -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(service.similar, item, _checked(k, limits)))

    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse(service.health())

    @app.get("/metrics")
    async def measured() -> JSONResponse:
        return JSONResponse(metrics.document() | {"running_users": service.running_users()})

    @app.post("/reload")
    async def reload(request: Request) -> JSONResponse:
        if request.client is None or request.client.host not in LOOPBACK:
            raise RequestError(403, "only this machine itself may reload the model")
        try:
            dropped = await asyncio.to_thread(service.reload)
        except RecurraError as error:
            raise RequestError(409, f"the old model stays: {error}") from error
        return JSONResponse(service.health() | {"dropped_users": dropped})

    return LimitedRequests(app, limits, metrics)


def _checked(k: int, limits: ServeLimits) -> int:
    if k > limits.k:
        raise RequestError(400, f"k is {k}; it must be at most {limits.k}")
    return k


def _answer_errors_in_one_line(app: FastAPI) -> None:
    def line(status: int, message: str) -> JSONResponse:
        return JSONResponse({"error": message}, status)

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> JSONResponse:
        return line(error.status, str(error))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        return line(error.status_code, f"{request.method} {request.url.path}: {error.detail}")

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        return line(400, _first_fault(error.errors()[0], skipped=1))

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return line(500, "a bug; the server's log has the traceback")


def _read(kind: type[Body], body: bytes, request: Request) -> Body:
    """Read a body.

    Raises:
        RequestError: it is not JSON, or not what is asked for.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        message = "the body must be JSON, sent with Content-Type: application/json"
        raise RequestError(415, message)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RequestError(400, _first_fault(first)) from error


def _first_fault(fault: Mapping[str, Any], skipped: int = 0) -> str:
    """What is wrong, and where: a part of the request, behind as many that say where that is."""
    # A union tells of each of its members; where the value is comes before what it is not.
    parts = [str(part) for part in fault["loc"][skipped:]]
    where = [part for part in parts if not part.startswith("constrained")]
    return f"{'.'.join(where) or 'body'}: {fault['msg']}"


def _described(body: type[BaseModel]) -> dict[str, Any]:
    """A body of JSON, for /openapi.json."""
    content = {"application/json": {"schema": body.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}
