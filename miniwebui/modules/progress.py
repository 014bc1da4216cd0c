"""Jobs by their id: which is running, which wait, how far they are. The page asks `/internal/progress`."""

from __future__ import annotations

import base64
import io
import random
import string
import time
from collections import OrderedDict
from typing import Any

from pydantic import BaseModel, Field

from modules import shared

current_task: str | None = None
pending_tasks: OrderedDict[str, float] = OrderedDict()
finished_tasks: list[str] = []
FINISHED_LIMIT = 16
ID_LENGTH = 7


def start_task(id_task: str | None) -> None:
    global current_task
    current_task = id_task
    pending_tasks.pop(id_task, None)


def finish_task(id_task: str | None) -> None:
    global current_task
    if current_task == id_task:
        current_task = None
    finished_tasks.append(id_task)
    del finished_tasks[:-FINISHED_LIMIT]


def create_task_id(task_type: str) -> str:
    letters = random.choices(string.ascii_uppercase + string.digits, k=ID_LENGTH)
    return f"task({task_type}-{''.join(letters)})"


def add_task_to_queue(id_job: str) -> None:
    pending_tasks[id_job] = time.time()


class PendingTasksResponse(BaseModel):
    size: int = Field(title="Pending task size")
    tasks: list[str] = Field(title="Pending task ids")


class ProgressRequest(BaseModel):
    id_task: str | None = None
    id_live_preview: int = Field(default=-1, description="the last preview received")
    live_preview: bool = True


class ProgressResponse(BaseModel):
    active: bool
    queued: bool
    completed: bool
    progress: float | None = Field(default=None, description="0 to 1")
    eta: float | None = Field(default=None, description="seconds to go")
    live_preview: str | None = Field(default=None, description="a data: URI")
    id_live_preview: int | None = None
    textinfo: str | None = None


def setup_progress_api(app: Any) -> None:
    app.add_api_route("/internal/pending-tasks", get_pending_tasks, methods=["GET"])
    app.add_api_route("/internal/progress", progressapi, methods=["POST"], response_model=ProgressResponse)


def get_pending_tasks() -> PendingTasksResponse:
    return PendingTasksResponse(size=len(pending_tasks), tasks=list(pending_tasks))


def fraction_done() -> float:
    """How much of the running job is done, 0 to 1."""
    state = shared.state
    if state.job_count <= 0:
        return 0.0
    of_batch = state.sampling_step / state.sampling_steps if state.sampling_steps > 0 else 0.0
    return min((state.job_no + of_batch) / state.job_count, 1.0)


def _waiting(req: ProgressRequest) -> str:
    in_order = sorted(pending_tasks, key=pending_tasks.__getitem__)
    if req.id_task not in in_order:
        return "Waiting..."
    return f"In queue: {in_order.index(req.id_task) + 1}/{len(in_order)}"


def progressapi(req: ProgressRequest) -> ProgressResponse:
    known = {
        "active": req.id_task == current_task,
        "queued": req.id_task in pending_tasks,
        "completed": req.id_task in finished_tasks,
    }
    if not known["active"]:
        return ProgressResponse(**known, id_live_preview=-1, textinfo=_waiting(req))
    done = fraction_done()
    elapsed = time.time() - (shared.state.time_start or time.time())
    picture, id_live_preview = _preview(req)
    return ProgressResponse(
        **known,
        progress=done,
        eta=elapsed / done - elapsed if done else None,
        live_preview=picture,
        id_live_preview=id_live_preview,
        textinfo=shared.state.textinfo,
    )


def _preview(req: ProgressRequest) -> tuple[str | None, int]:
    """A preview that the asker has not got yet, as a data: URI, and its number."""
    if not (shared.opts.live_previews_enable and req.live_preview):
        return None, req.id_live_preview
    shared.state.set_current_image()
    image, number = shared.state.current_image, shared.state.id_live_preview
    if image is None or number == req.id_live_preview:
        return None, req.id_live_preview
    kind = shared.opts.live_previews_image_format
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **({"compress_level": 1} if kind == "png" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", number
