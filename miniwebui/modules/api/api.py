"""The HTTP API, `/sdapi/v1/…`: what clients draw with. Routes, bodies and states are those of the real WebUI."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import HTTPException

from modules import images, processing, progress, scripts, shared, ui
from modules.api import models
from modules.api.arguments import (  # noqa: F401
    ScriptArguments,
    processing_args,
    refuse_unreadable,
    script_name_to_index,
    validate_sampler_name,
)
from modules.api.middleware import api_middleware
from modules.api.pictures import decode_base64_to_image, encode_pil_to_base64
from modules.api.questions import Questions
from modules.call_queue import running
from modules.processing_base import MAX_SIDE
from modules.shared import opts


class Api(ScriptArguments, Questions):
    def __init__(self, app: FastAPI, queue_lock: Any) -> None:
        self.router = APIRouter()
        self.app = app
        self.queue_lock = queue_lock
        api_middleware(app)
        if not scripts.scripts_txt2img.scripts:
            ui.create_ui()
        self.default_script_arg_txt2img = self.init_default_script_args(scripts.scripts_txt2img)
        self.default_script_arg_img2img = self.init_default_script_args(scripts.scripts_img2img)
        for path, endpoint, method, answer in self._routes():  # last: the page's server answers already
            self.add_api_route(f"/sdapi/v1/{path}", endpoint, methods=[method], response_model=answer)

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
        if not img2imgreq.init_images:
            raise HTTPException(status_code=404, detail="There is no init image.")
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
        refuse_unreadable({name: getattr(request, name) for name in request.model_fields_set}, "")
        task_id = request.force_task_id or progress.create_task_id(tab)
        from_infotext: dict[int, Any] = {}
        self.apply_infotext(request, tab, script_runner=runner, mentioned_script_args=from_infotext)
        selected, selected_index = self.get_selectable_script(request.script_name, runner)
        args = processing_args(request) | decoded
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
            raise HTTPException(status_code=422, detail=f"There is no upscaler '{req.upscaler_1}'.")
        scale = req.upscaling_resize
        size = (round(image.width * scale), round(image.height * scale))
        if req.resize_mode == 1:
            size = (req.upscaling_resize_w, req.upscaling_resize_h)
        if min(size) < 1 or max(size) > MAX_SIDE:
            detail = f"Upscaling makes {size[0]}x{size[1]}; allowed are 1 to {MAX_SIDE} pixels."
            raise HTTPException(status_code=422, detail=detail)
        with self.queue_lock:
            result = images.resize_image(0, image.convert("RGB"), *size, upscaler_name=req.upscaler_1)
        return models.ExtrasSingleImageResponse(image=encode_pil_to_base64(result), html_info="")

    def launch(self, server_name: str, port: int, root_path: str) -> None:
        import uvicorn

        self.app.include_router(self.router)
        uvicorn.run(self.app, host=server_name, port=port, root_path=root_path)
