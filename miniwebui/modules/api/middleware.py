"""What every request goes through: its time is taken, and what it raises is told in JSON."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.responses import JSONResponse

from modules import errors, shared

log = logging.getLogger("API")


def _answer_to_error(request: Request, e: Exception) -> JSONResponse:
    """What a client gets to read of an exception; those that are no HTTP errors are logged."""
    answer = {
        "error": type(e).__name__,
        "errors": str(e),
        **{name: getattr(e, name, "") for name in ("detail", "body")},
    }
    if not isinstance(e, HTTPException):
        errors.report(f"API error: {request.method}: {request.url.path} {answer}", exc_info=True)
    return JSONResponse(status_code=vars(e).get("status_code", 500), content=jsonable_encoder(answer))


def api_middleware(app: FastAPI) -> None:
    """The time a request took in its header, and every exception as JSON."""

    @app.middleware("http")
    async def log_and_time(req: Request, call_next: Callable) -> Any:
        start = time.time()
        res = await call_next(req)
        duration = f"{time.time() - start:.4f}"
        res.headers["X-Process-Time"] = duration
        if shared.cmd_opts.api_log and req.url.path.startswith("/sdapi"):
            log.info("%s %s %s %s s", res.status_code, req.method, req.url.path, duration)
        return res

    @app.middleware("http")
    async def exception_handling(request: Request, call_next: Callable) -> Any:
        try:
            return await call_next(request)
        except Exception as e:
            return _answer_to_error(request, e)

    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_body)


async def _http_error(request: Request, e: HTTPException) -> JSONResponse:
    return _answer_to_error(request, e)


async def _wrong_body(request: Request, e: RequestValidationError) -> JSONResponse:
    """What is wrong where, without sending back what was sent, which may be large."""
    told = [{name: error[name] for name in ("loc", "msg", "type")} for error in e.errors()]
    return JSONResponse(status_code=422, content=jsonable_encoder({"detail": told}))
