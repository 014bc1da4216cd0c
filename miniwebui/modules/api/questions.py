"""What clients may ask for and switch beside drawing: progress, options, lists of what there is."""

from __future__ import annotations

import time
from typing import Any

from fastapi import Depends

from modules import (
    images,
    infotext_utils,
    progress,
    script_callbacks,
    scripts,
    sd_hijack,
    sd_models,
    sd_samplers,
    sd_schedulers,
    shared,
)
from modules.api import models
from modules.api.memory import cuda_memory, system_memory
from modules.api.pictures import decode_base64_to_image, encode_pil_to_base64
from modules.shared import opts


class Questions:
    """The part of the API that draws nothing."""

    queue_lock: Any

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
        """Set and save options. All or none: raises RuntimeError for an unknown checkpoint, ValueError."""
        checkpoint = req.get("sd_model_checkpoint")
        if checkpoint is not None and checkpoint not in sd_models.checkpoint_aliases:
            raise RuntimeError(f"There is no checkpoint '{checkpoint}'.")
        for key, value in req.items():
            opts.check(key, value)
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
        return models.MemoryResponse(ram=system_memory(), cuda=cuda_memory())

    def get_scripts_list(self) -> models.ScriptsList:
        names = [
            [script.name for script in runner.scripts if script.name is not None]
            for runner in (scripts.scripts_txt2img, scripts.scripts_img2img)
        ]
        return models.ScriptsList(txt2img=names[0], img2img=names[1])

    def get_script_info(self) -> list[models.ScriptInfo]:
        all_scripts = [*scripts.scripts_txt2img.scripts, *scripts.scripts_img2img.scripts]
        return [script.api_info for script in all_scripts if script.api_info is not None]
