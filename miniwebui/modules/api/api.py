"""The HTTP API, `/sdapi/v1/…`: what clients draw with. Routes, bodies and errors are those of the real WebUI."""

from __future__ import annotations

import base64
import binascii
import io
import logging
import os
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import gradio as gr
import torch
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.responses import JSONResponse
from PIL import PngImagePlugin, UnidentifiedImageError

from modules import (
    errors,
    image_infotext,
    images,
    infotext_utils,
    processing,
    progress,
    script_callbacks,
    scripts,
    sd_hijack,
    sd_models,
    sd_samplers,
    sd_schedulers,
    shared,
    ui,
)
from modules.api import models
from modules.call_queue import running
from modules.shared import opts

log = logging.getLogger("API")
NOT_FOR_PROCESSING = (
    "include_init_images", "script_name", "script_args", "alwayson_scripts", "infotext", "send_images",
    "save_images", "force_task_id",
)  # fmt: skip
"""Fields of a request that the processing class does not know."""
PNG = "png"


def script_name_to_index(name: str, scripts: list[Any]) -> int:
    try:
        return [script.title().lower() for script in scripts].index(name.lower())
    except ValueError as e:
        raise HTTPException(status_code=422, detail=f"Script '{name}' not found") from e


def validate_sampler_name(name: str) -> str:
    if sd_samplers.all_samplers_map.get(name) is None:
        raise HTTPException(status_code=400, detail="Sampler not found")
    return name


def decode_base64_to_image(encoding: str) -> Any:
    """A picture from base64, with or without `data:image/…;base64,`; addresses are not fetched."""
    if encoding.startswith(("http://", "https://")):
        raise HTTPException(status_code=500, detail="Requests not allowed")
    if encoding.startswith("data:image/"):
        encoding = encoding.partition(",")[2]
    try:
        return images.read(io.BytesIO(base64.b64decode(encoding)))
    except (binascii.Error, UnidentifiedImageError, OSError, ValueError) as e:
        raise HTTPException(status_code=500, detail="Invalid encoded image") from e


def encode_pil_to_base64(image: Any) -> bytes:
    """A picture in the format of the settings, with its parameters inside."""
    if isinstance(image, str):
        return image
    kind = opts.samples_format.lower()
    texts = {key: text for key, text in image.info.items() if isinstance(key, str) and isinstance(text, str)}
    with io.BytesIO() as buffer:
        if kind == PNG:
            info = PngImagePlugin.PngInfo()
            for key, text in texts.items():
                info.add_text(key, text)
            image.save(buffer, format="PNG", pnginfo=info if texts else None)
        elif kind in ("jpg", "jpeg", "webp"):
            flat = image.convert("RGB") if image.mode in ("RGBA", "P") else image
            exif = image_infotext.exif_with_comment(texts.get("parameters", ""))
            flat.save(
                buffer, format="WEBP" if kind == "webp" else "JPEG", exif=exif, quality=opts.jpeg_quality
            )
        else:
            raise HTTPException(status_code=500, detail="Invalid image format")
        return base64.b64encode(buffer.getvalue())


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


class Api:
    def __init__(self, app: FastAPI, queue_lock: Any) -> None:
        self.router = APIRouter()
        self.app = app
        self.queue_lock = queue_lock
        api_middleware(app)
        for path, endpoint, method, answer in self._routes():
            self.add_api_route(f"/sdapi/v1/{path}", endpoint, methods=[method], response_model=answer)
        if not scripts.scripts_txt2img.scripts:
            ui.create_ui()
        self.default_script_arg_txt2img = self.init_default_script_args(scripts.scripts_txt2img)
        self.default_script_arg_img2img = self.init_default_script_args(scripts.scripts_img2img)

    def _routes(self) -> list[tuple[str, Callable, str, Any]]:
        """(path, function, method, model of the answer)."""
        return [
            ("txt2img", self.text2imgapi, "POST", models.TextToImageResponse),
            ("img2img", self.img2imgapi, "POST", models.ImageToImageResponse),
            ("extra-single-image", self.extras_single_image_api, "POST", models.ExtrasSingleImageResponse),
            ("png-info", self.pnginfoapi, "POST", models.PNGInfoResponse),
            ("progress", self.progressapi, "GET", models.ProgressResponse),
            ("interrupt", self.interruptapi, "POST", None),
            ("skip", self.skip, "POST", None),
            ("options", self.get_config, "GET", models.OptionsModel),
            ("options", self.set_config, "POST", None),
            ("cmd-flags", self.get_cmd_flags, "GET", models.FlagsModel),
            ("samplers", self.get_samplers, "GET", list[models.SamplerItem]),
            ("schedulers", self.get_schedulers, "GET", list[models.SchedulerItem]),
            ("upscalers", self.get_upscalers, "GET", list[models.UpscalerItem]),
            (
                "latent-upscale-modes",
                self.get_latent_upscale_modes,
                "GET",
                list[models.LatentUpscalerModeItem],
            ),
            ("sd-models", self.get_sd_models, "GET", list[models.SDModelItem]),
            ("sd-vae", self.get_sd_vaes, "GET", list[models.SDVaeItem]),
            ("hypernetworks", self.get_hypernetworks, "GET", list[models.HypernetworkItem]),
            ("face-restorers", self.get_face_restorers, "GET", list[models.FaceRestorerItem]),
            ("realesrgan-models", self.get_realesrgan_models, "GET", list[models.RealesrganItem]),
            ("prompt-styles", self.get_prompt_styles, "GET", list[models.PromptStyleItem]),
            ("embeddings", self.get_embeddings, "GET", models.EmbeddingsResponse),
            ("refresh-embeddings", self.refresh_embeddings, "POST", None),
            ("refresh-checkpoints", self.refresh_checkpoints, "POST", None),
            ("memory", self.get_memory, "GET", models.MemoryResponse),
            ("unload-checkpoint", self.unloadapi, "POST", None),
            ("reload-checkpoint", self.reloadapi, "POST", None),
            ("scripts", self.get_scripts_list, "GET", models.ScriptsList),
            ("script-info", self.get_script_info, "GET", list[models.ScriptInfo]),
        ]

    def add_api_route(self, path: str, endpoint: Callable, **kwargs: Any) -> None:
        self.app.add_api_route(path, endpoint, **kwargs)

    # -- scripts and their arguments

    def get_selectable_script(self, script_name: str | None, script_runner: Any) -> tuple[Any, int | None]:
        if not script_name:
            return None, None
        index = script_name_to_index(script_name, script_runner.selectable_scripts)
        return script_runner.selectable_scripts[index], index

    def get_script(self, script_name: str, script_runner: Any) -> Any:
        return script_runner.scripts[script_name_to_index(script_name, script_runner.scripts)]

    def get_scripts_list(self) -> models.ScriptsList:
        names = [
            [script.name for script in runner.scripts if script.name is not None]
            for runner in (scripts.scripts_txt2img, scripts.scripts_img2img)
        ]
        return models.ScriptsList(txt2img=names[0], img2img=names[1])

    def get_script_info(self) -> list[models.ScriptInfo]:
        all_scripts = [*scripts.scripts_txt2img.scripts, *scripts.scripts_img2img.scripts]
        return [script.api_info for script in all_scripts if script.api_info is not None]

    def init_default_script_args(self, script_runner: Any) -> list[Any]:
        """The argument list with every control at its start value, from components made for this alone.

        `ui` is called twice a script: so often does the real WebUI, and scripts must bear it.
        """
        script_args: list[Any] = [0] + [None] * (len(script_runner.inputs) - 1)
        with gr.Blocks():
            for script in script_runner.scripts:
                made = [script.ui(script.is_img2img) for _ in range(2)]
                values = [control.value for control in made[-1] or []]
                script_args[script.args_from : script.args_from + len(values)] = values
        return script_args

    def init_script_args(
        self,
        request: Any,
        default_script_args: list[Any],
        selectable_scripts: Any,
        selectable_idx: int | None,
        script_runner: Any,
        *,
        input_script_args: dict[int, Any] | None = None,
    ) -> list[Any]:
        """The argument list: start values, then the infotext's, then the request's for each script it names."""
        script_args = list(default_script_args)
        for index, value in (input_script_args or {}).items():
            script_args[index] = value
        if selectable_scripts:
            script_args[selectable_scripts.args_from : selectable_scripts.args_to] = request.script_args
            script_args[0] = selectable_idx + 1
        for name, given in (request.alwayson_scripts or {}).items():
            script = self.get_script(name, script_runner)
            if script.alwayson is False:
                detail = f"'{name}' is chosen by script_name; alwayson_scripts takes always-on scripts only"
                raise HTTPException(status_code=422, detail=detail)
            # what is left out keeps its start value, what is too much is not looked at
            for offset, value in enumerate(given.get("args", [])[: script.args_to - script.args_from]):
                script_args[script.args_from + offset] = value
        return script_args

    def apply_infotext(
        self,
        request: Any,
        tabname: str,
        *,
        script_runner: Any = None,
        mentioned_script_args: dict[int, Any] | None = None,
    ) -> dict[str, Any]:
        """Fill what the request leaves open from its `infotext`; `mentioned_script_args` gets {place: value}."""
        if not request.infotext:
            return {}
        fields = infotext_utils.paste_fields[tabname]["fields"]
        params = infotext_utils.parse_generation_parameters(request.infotext)
        for field in fields:
            if field.api and field.api not in request.model_fields_set:
                value = _field_value(field, params)
                if value is not None:
                    setattr(request, field.api, value)
        request.override_settings = request.override_settings or {}
        for _, setting, value in infotext_utils.get_override_settings(params):
            request.override_settings.setdefault(setting, value)
        if script_runner is not None and mentioned_script_args is not None:
            places = {component: place for place, component in enumerate(script_runner.inputs)}
            for field in fields:
                value = _field_value(field, params) if field.component in places else None
                if value is not None:
                    mentioned_script_args[places[field.component]] = value
        return params

    # -- drawing

    def text2imgapi(self, txt2imgreq: models.StableDiffusionTxt2ImgProcessingAPI) -> Any:
        pictures, info = self._draw(
            txt2imgreq,
            "txt2img",
            scripts.scripts_txt2img,
            self.default_script_arg_txt2img,
            processing.StableDiffusionProcessingTxt2Img,
        )
        return models.TextToImageResponse(images=pictures, parameters=vars(txt2imgreq), info=info)

    def img2imgapi(self, img2imgreq: models.StableDiffusionImg2ImgProcessingAPI) -> Any:
        if img2imgreq.init_images is None:
            raise HTTPException(status_code=404, detail="Init image not found")
        pictures, info = self._draw(
            img2imgreq,
            "img2img",
            scripts.scripts_img2img,
            self.default_script_arg_img2img,
            processing.StableDiffusionProcessingImg2Img,
            init_images=[decode_base64_to_image(image) for image in img2imgreq.init_images],
            mask=decode_base64_to_image(img2imgreq.mask) if img2imgreq.mask else None,
        )
        if not img2imgreq.include_init_images:
            img2imgreq.init_images = img2imgreq.mask = None
        return models.ImageToImageResponse(images=pictures, parameters=vars(img2imgreq), info=info)

    def _draw(
        self, request: Any, tab: str, runner: Any, default_args: list[Any], make: Callable, **decoded: Any
    ) -> tuple[list[bytes], str]:
        """Draw what a request asks for, once nobody else is drawing -> (pictures in base64, settings as JSON)."""
        task_id = request.force_task_id or progress.create_task_id(tab)
        from_infotext: dict[int, Any] = {}
        self.apply_infotext(request, tab, script_runner=runner, mentioned_script_args=from_infotext)
        selected, selected_index = self.get_selectable_script(request.script_name, runner)
        args = _processing_args(request) | decoded
        script_args = self.init_script_args(
            request, default_args, selected, selected_index, runner, input_script_args=from_infotext
        )
        with running(f"scripts_{tab}", task_id), closing(make(sd_model=shared.sd_model, **args)) as p:
            p.is_api = True
            p.scripts = runner
            p.outpath_grids = getattr(opts, f"outdir_{tab}_grids")
            p.outpath_samples = getattr(opts, f"outdir_{tab}_samples")
            try:
                if selected is None:
                    p.script_args = tuple(script_args)
                    processed = processing.process_images(p)
                else:  # one list for all of a plot's pictures
                    p.script_args = script_args
                    processed = runner.run(p, *script_args)
            finally:
                shared.total_tqdm.clear()
        send = [] if request.send_images is False else processed.images
        return [encode_pil_to_base64(image) for image in send], processed.js()

    def extras_single_image_api(self, req: models.ExtrasSingleImageRequest) -> Any:
        """The plain upscaling of the real one's; faces and second upscalers are not here."""
        image = decode_base64_to_image(req.image)
        names = [upscaler.name for upscaler in shared.sd_upscalers]
        if req.upscaler_1 not in names:
            raise HTTPException(status_code=422, detail=f"Upscaler '{req.upscaler_1}' not found")
        scale = req.upscaling_resize
        size = (round(image.width * scale), round(image.height * scale))
        if req.resize_mode == 1:
            size = (req.upscaling_resize_w, req.upscaling_resize_h)
        with self.queue_lock:
            result = images.resize_image(0, image.convert("RGB"), *size, upscaler_name=req.upscaler_1)
        return models.ExtrasSingleImageResponse(image=encode_pil_to_base64(result), html_info="")

    # -- asking

    def pnginfoapi(self, req: models.PNGInfoRequest) -> models.PNGInfoResponse:
        geninfo, items = images.read_info_from_image(decode_base64_to_image(req.image.strip()))
        params = infotext_utils.parse_generation_parameters(geninfo or "")
        script_callbacks.infotext_pasted_callback(geninfo or "", params)
        texts = {key: text for key, text in items.items() if isinstance(text, (str, int, float))}
        return models.PNGInfoResponse(info=geninfo or "", items=texts, parameters=params)

    def progressapi(self, req: models.ProgressRequest = Depends()) -> models.ProgressResponse:  # noqa: B008
        state = shared.state
        if state.job_count == 0:
            return models.ProgressResponse(
                progress=0, eta_relative=0, state=state.dict(), textinfo=state.textinfo
            )
        done = min(progress.fraction_done() + 0.01, 1)  # never 0, by which the time left is divided
        elapsed = time.time() - (state.time_start or time.time())
        state.set_current_image()
        image = None if req.skip_current_image else state.current_image
        return models.ProgressResponse(
            progress=done,
            eta_relative=elapsed / done - elapsed,
            state=state.dict(),
            current_image=encode_pil_to_base64(image) if image else None,
            textinfo=state.textinfo,
        )

    def interruptapi(self) -> dict:
        shared.state.interrupt()
        return {}

    def skip(self) -> None:
        shared.state.skip()

    def get_config(self) -> dict[str, Any]:
        return {key: opts.data.get(key) for key in opts.data}

    def set_config(self, req: dict[str, Any]) -> None:
        """Set and save options. Raises RuntimeError for an unknown checkpoint, KeyError for an unknown option."""
        checkpoint = req.get("sd_model_checkpoint")
        if checkpoint is not None and checkpoint not in sd_models.checkpoint_aliases:
            raise RuntimeError(f"model {checkpoint!r} not found")
        for key, value in req.items():
            opts.set(key, value, is_api=True)
        opts.save(shared.config_filename)

    def get_cmd_flags(self) -> dict[str, Any]:
        return vars(shared.cmd_opts)

    def get_samplers(self) -> list[dict[str, Any]]:
        return [
            {
                "name": sampler.name,
                "aliases": sampler.aliases,
                "options": {key: str(value) for key, value in sampler.options.items()},
            }
            for sampler in sd_samplers.all_samplers
        ]

    def get_schedulers(self) -> list[dict[str, Any]]:
        names = ("name", "label", "aliases", "default_rho", "need_inner_model")
        return [{name: getattr(scheduler, name) for name in names} for scheduler in sd_schedulers.schedulers]

    def get_upscalers(self) -> list[dict[str, Any]]:
        return [
            {
                "name": data.name,
                "scale": data.scale,
                "model_name": data.scaler.model_name,
                "model_path": data.data_path,
                "model_url": None,
            }
            for data in shared.sd_upscalers
        ]

    def get_latent_upscale_modes(self) -> list[dict[str, str]]:
        return [{"name": mode} for mode in shared.latent_upscale_modes]

    def get_sd_models(self) -> list[dict[str, Any]]:
        return [
            {
                "title": info.title,
                "model_name": info.model_name,
                "hash": info.shorthash,
                "sha256": info.sha256,
                "filename": info.filename,
            }
            for info in sd_models.checkpoints_list.values()
        ]

    def get_sd_vaes(self) -> list[Any]:
        """None: a VAE is part of its checkpoint."""
        return []

    def get_hypernetworks(self) -> list[dict[str, Any]]:
        return [{"name": name, "path": path} for name, path in shared.hypernetworks.items()]

    def get_face_restorers(self) -> list[dict[str, Any]]:
        return [{"name": restorer.name()} for restorer in shared.face_restorers]

    def get_realesrgan_models(self) -> list[Any]:
        """None: upscalers are found in files, see `get_upscalers`."""
        return []

    def get_prompt_styles(self) -> list[dict[str, Any]]:
        names = ("name", "prompt", "negative_prompt")
        return [
            {name: getattr(style, name) for name in names} for style in shared.prompt_styles.styles.values()
        ]

    def get_embeddings(self) -> dict[str, Any]:
        database = sd_hijack.model_hijack.embedding_db
        names = ("step", "sd_checkpoint", "sd_checkpoint_name", "shape", "vectors")

        def told(embeddings: dict[str, Any]) -> dict[str, Any]:
            return {
                embedding.name: {name: getattr(embedding, name, None) for name in names}
                for embedding in embeddings.values()
            }

        return {"loaded": told(database.word_embeddings), "skipped": told(database.skipped_embeddings)}

    def refresh_embeddings(self) -> None:
        with self.queue_lock:
            sd_hijack.model_hijack.embedding_db.load_textual_inversion_embeddings(force_reload=True)

    def refresh_checkpoints(self) -> None:
        with self.queue_lock:
            sd_models.list_models()

    def unloadapi(self) -> dict:
        sd_models.unload_model_weights()
        return {}

    def reloadapi(self) -> dict:
        sd_models.reload_model_weights()
        return {}

    def get_memory(self) -> models.MemoryResponse:
        return models.MemoryResponse(ram=_system_memory(), cuda=_cuda_memory())

    def launch(self, server_name: str, port: int, root_path: str) -> None:
        import uvicorn

        self.app.include_router(self.router)
        uvicorn.run(self.app, host=server_name, port=port, root_path=root_path)


def _processing_args(request: Any) -> dict[str, Any]:
    """The arguments of the processing class that a request gives. An unknown sampler is an HTTP error."""
    wanted = request.sampler_name or request.sampler_index
    sampler, scheduler = sd_samplers.get_sampler_and_scheduler(wanted, request.scheduler)
    if not _names_sampler(wanted, sampler):
        validate_sampler_name(wanted)  # the real one draws with its first sampler, which is easily missed
    args = {name: value for name, value in vars(request).items() if name not in NOT_FOR_PROCESSING}
    args |= {
        "sampler_name": sampler,
        "sampler_index": None,
        "do_not_save_samples": not request.save_images,
        "do_not_save_grid": not request.save_images,
    }
    for name in ("hr_checkpoint_name", "hr_sampler_name", "hr_scheduler"):
        if str(args.get(name)).startswith("Use same "):  # an infotext's way to say nothing
            args[name] = None
    if not args.get("scheduler") and scheduler != "Automatic":
        args["scheduler"] = scheduler
    return args


def _names_sampler(wanted: str, sampler: str) -> bool:
    """Whether the sampler was found by its name, which may end with a schedule's."""
    return wanted == sampler or wanted.startswith(f"{sampler} ")


def _field_value(field: Any, params: dict[str, Any]) -> Any:
    """What an infotext says for a field, in the type of its component; None where it says nothing."""
    value = field.function(params) if field.function else params.get(field.label)
    if isinstance(value, dict) and value.get("__type__") in ("update", "generic_update"):
        value = value.get("value")
    kind = type(field.component.value)
    if value is None or kind is type(None) or isinstance(value, kind):
        return value
    if kind is bool:
        return value not in ("False", "false", "0", 0)
    return kind(float(value)) if kind is int else kind(value)


def _system_memory() -> dict[str, Any]:
    """Bytes of the machine, and of this process, as Linux tells them."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[1]) * page
        total = os.sysconf("SC_PHYS_PAGES") * page
        return {"free": total - used, "used": used, "total": total}
    except (OSError, ValueError, AttributeError) as error:
        return {"error": str(error)}


def _cuda_memory() -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {"error": "unavailable"}
    free, total = torch.cuda.mem_get_info()
    stats = torch.cuda.memory_stats(shared.device)

    def of(kind: str) -> dict[str, int]:
        return {name: stats[f"{kind}.all.{name}"] for name in ("current", "peak")}

    return {
        "system": {"free": free, "used": total - free, "total": total},
        "active": of("active_bytes"),
        "allocated": of("allocated_bytes"),
        "reserved": of("reserved_bytes"),
        "inactive": of("inactive_split_bytes"),
        "events": {"retries": stats["num_alloc_retries"], "oom": stats["num_ooms"]},
    }
