"""The application: endpoints, errors, and background tasks."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import anyio.to_thread
from fastapi import FastAPI, HTTPException, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from joblib import cpu_count

from skclip._base import VERSION
from skclip.serve import _requests as schema
from skclip.serve._middleware import SAFE_HEADERS, BodyLimit, SafeHeaders

_ERRORS = {code: {"model": schema.Error} for code in (400, 408, 413, 422)}
_STATE = tuple(schema.ModelState.model_fields)


def new_app(models, reload_seconds, max_body):
    app = FastAPI(
        title="skclip",
        version=VERSION,
        description="Recommendations for sessions, from models that skclip.save wrote.",
        docs_url=None,  # it would load files from another site
        redoc_url=None,
        lifespan=_lifespan(models, reload_seconds),
    )
    _add_rankings(app, models)
    _add_items(app, models)
    _add_states(app, models)
    _add_page(app)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(400, _refuse_body)
    app.add_exception_handler(405, _refuse_method)
    app.add_exception_handler(Exception, _fail)
    app.add_middleware(BodyLimit, max_body=max_body)
    app.add_middleware(SafeHeaders)
    return app


def _lifespan(models, reload_seconds):
    @contextlib.asynccontextmanager
    async def lifespan(app):
        # More predictions at once than cores would only slow each of them down.
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = max(2, cpu_count())
        watcher = asyncio.create_task(_watch(models, reload_seconds))
        yield
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher

    return lifespan


async def _watch(models, seconds):
    """Check the files until the end, beside the threads that answer requests."""
    own = anyio.CapacityLimiter(1)
    while seconds > 0:
        await anyio.to_thread.run_sync(
            models.refresh, limiter=own, abandon_on_cancel=True
        )
        await asyncio.sleep(seconds)


# -- endpoints: `def` runs in a thread, `async def` never waits for one ----------------


def _model(models, name):
    if name not in models:
        raise HTTPException(422, f"model: the server has no model {name!r}.")
    return models[name]


def _head(request, model):
    """Return the first fields of each answer with rankings."""
    return {
        "model": request.model,
        "version": model.version,
        "unknown_filters": model.catalog.unknown(request.filtered),
    }


def _ranking(catalog, asked, items, scores):
    return {"items": items, "scores": scores, "unknown": catalog.unknown(asked)}


def _add_rankings(app, models):
    @app.post(
        "/recommend",
        response_model=schema.OneRecommendation | schema.ManyRankings,
        responses=_ERRORS,
    )
    def recommend(request: schema.RecommendRequest):
        """Recommend next items for one session, or for many."""
        model = _model(models, request.model)
        catalog, filters = model.catalog, request.filters
        filters["exclude_seen"] = request.exclude_seen
        answer = _head(request, model)
        asked, columns = request.asked, request.columns
        if request.many:
            found = asked and model.recommend(asked, request.k, columns, **filters)
            pairs = zip(asked, found, strict=True)
            results = [_ranking(catalog, session, *best) for session, best in pairs]
            return JSONResponse(answer | {"results": results})
        explanation = None
        if request.explain:
            if not hasattr(model.recommender, "decision_function"):
                raise HTTPException(422, "explain: this model cannot be explained.")
            *best, drops = model.explain(asked, request.k, columns, **filters)
            explanation = {"clicks": list(range(len(drops))), "drops": drops}
        else:
            (best,) = model.recommend(asked, request.k, columns, **filters)
        answer |= _ranking(catalog, request.session, *best)
        return JSONResponse(answer | {"explanation": explanation})

    @app.post(
        "/similar",
        response_model=schema.OneRanking | schema.ManyRankings,
        responses=_ERRORS,
    )
    def similar(request: schema.SimilarRequest):
        """Find the items that are most similar to one item, or to each of many."""
        model = _model(models, request.model)
        if model.similar_by is None:
            name = type(model.recommender).__name__
            raise HTTPException(
                422,
                f"Model {request.model} is a {name}. It has neither vectors nor "
                "neighbors of items, so it cannot find similar items.",
            )
        many = "items" in request.model_fields_set
        asked = request.items if many else [request.item]
        found = asked and model.similar(asked, request.k, **request.filters)
        pairs = zip(asked, found, strict=True)
        results = [_ranking(model.catalog, [item], *best) for item, best in pairs]
        answer = _head(request, model)
        return JSONResponse(answer | ({"results": results} if many else results[0]))


def _add_items(app, models):
    @app.get("/items", response_model=schema.FoundItems, responses=_ERRORS)
    def search_items(request: Annotated[schema.SearchRequest, Query()]):
        """Search items by the words of their ids and titles, most clicked first."""
        catalog = _model(models, request.model).catalog
        items, total = catalog.search(request.q, request.limit)
        return JSONResponse({"items": items, "total": total})

    @app.post("/items", response_model=schema.Items, responses=_ERRORS)
    def describe_items(request: schema.ItemsRequest):
        """Return titles, clusters and clicks of items."""
        catalog = _model(models, request.model).catalog
        return JSONResponse({"items": catalog.records(request.ids)})


def _add_states(app, models):
    @app.get("/models", response_model=schema.ModelDescriptions)
    async def describe_models():
        """List the models and their files."""
        return JSONResponse({"models": models.describe()})

    @app.head("/health", include_in_schema=False)  # some load balancers use HEAD
    @app.get("/health", response_model=schema.Health)
    async def health():
        """Report that the server answers, and the versions of its models."""
        states = [{key: m[key] for key in _STATE} for m in models.describe()]
        return JSONResponse({"status": "ok", "skclip": VERSION, "models": states})


def _add_page(app):
    for path in Path(__file__).with_name("page").iterdir():

        async def send(request, path=path):
            return FileResponse(path)

        where = "/" if path.name == "index.html" else f"/{path.name}"
        app.add_route(where, send, ["GET", "HEAD"], include_in_schema=False)


# -- errors ----------------------------------------------------------------------------

_OF_BODIES = {
    "json_invalid": "The body is not valid JSON.",
    "model_attributes_type": "The body is not a JSON object.",
    "string_unicode": "The body has an unpaired surrogate, which is not valid text.",
}


async def _refuse(request, error):
    """Describe the error in a request, without repeating the request.

    A request may hold values that JSON cannot hold, such as NaN or an unpaired
    surrogate.
    """
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query")]
    where = [part for part in where if "[" not in part]  # internal types of pydantic
    problem = first["msg"].removeprefix("Value error, ").rstrip(".")
    text = f"{'.'.join(where)}: {problem}." if where else f"{problem}."
    text = _OF_BODIES.get(first["type"], text)
    if first["loc"] == ("body",) and first["type"] == "missing":
        text = "The body is missing."
    if isinstance(error.body, bytes):  # it was not read as JSON
        text = "Send the header content-type: application/json."
    text = text.encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"detail": text[:500]}, status_code=422)


async def _refuse_body(request, error):
    detail = "The body cannot be read as JSON in UTF-8."
    return JSONResponse({"detail": detail}, status_code=400)


async def _refuse_method(request, error):
    """Name the methods of all endpoints at a path, not only of the first one."""
    path = request.url.path
    found = [r.methods for r in request.app.routes if getattr(r, "path", "") == path]
    allow = {"Allow": ", ".join(sorted(set().union(*found)))}
    return JSONResponse({"detail": "Method not allowed."}, 405, allow)


async def _fail(request, error):
    """Answer outside of all middleware, with the headers added here."""
    return JSONResponse({"detail": "Internal server error."}, 500, SAFE_HEADERS)
