"""Bodies of the API's requests and answers; those of the generations are made from the processing classes."""

from __future__ import annotations

import inspect
import typing
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, create_model

from modules import processing, processing_base
from modules.processing import StableDiffusionProcessingImg2Img, StableDiffusionProcessingTxt2Img
from modules.shared import opts
from modules.shared_cmd_options import parser

NOT_SENT = (
    "self", "sd_model", "outpath_samples", "outpath_grids", "overlay_images", "extra_generation_params",
    "prompt_for_display", "seed_enable_extras", "do_not_reload_embeddings", "ddim_discretize",
    "sampler_noise_scheduler_override",
    "sampler_index",  # clients send a name instead, see below
)  # fmt: skip
"""Arguments of the processing classes that no client sets."""
TYPES = {**vars(typing), **vars(processing_base), **vars(processing)}


def _request(processing_class: type, more: dict[str, tuple[Any, Any]]) -> type[BaseModel]:
    """What draws with that class takes: the class's arguments, and `more` as {name: (type, default)}."""
    arguments: dict[str, inspect.Parameter] = {}
    for cls in processing_class.__mro__[:-1]:
        arguments |= inspect.signature(cls.__init__).parameters  # where both have a default, the base's
    fields = {
        name: (_type_of(argument), None if isinstance(argument.default, property) else argument.default)
        for name, argument in arguments.items()
        if name not in NOT_SENT
    }
    fields |= {name: (kind | None, default) for name, (kind, default) in more.items()}
    config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())
    return create_model(processing_class.__name__, __config__=config, **fields)


def _type_of(argument: inspect.Parameter) -> Any:
    """Pictures are sent as base64 texts; everything may be left out."""
    annotation = argument.annotation
    if annotation in ("Image", "Image.Image", Image, Image.Image):
        annotation = str
    if isinstance(annotation, str):
        annotation = eval(annotation, TYPES)  # the annotations of our own dataclasses
    return annotation | None


SCRIPTS = {"script_name": (str, None), "script_args": (list, []), "alwayson_scripts": (dict, {})}
ANSWER = {"send_images": (bool, True), "save_images": (bool, False)}
EITHER_TAB = {
    "sampler_index": (str, "Euler"), "force_task_id": (str, None), "infotext": (str, None), **SCRIPTS, **ANSWER,
}  # fmt: skip
INIT = {
    "init_images": (list, None),
    "mask": (str, None),
    "denoising_strength": (float, 0.75),
    "include_init_images": (bool, Field(default=False, exclude=True)),
}

StableDiffusionTxt2ImgProcessingAPI = _request(StableDiffusionProcessingTxt2Img, EITHER_TAB)
StableDiffusionImg2ImgProcessingAPI = _request(StableDiffusionProcessingImg2Img, EITHER_TAB | INIT)


class TextToImageResponse(BaseModel):
    images: list[str] | None = Field(default=None, description="in base64")
    parameters: dict
    info: str


class ImageToImageResponse(TextToImageResponse):
    pass


class ExtrasBaseRequest(BaseModel):
    resize_mode: Literal[0, 1] = Field(default=0, description="0: by a factor, 1: to a size")
    upscaling_resize: float = Field(default=2, gt=0)
    upscaling_resize_w: int = Field(default=512, ge=1, description="pixels")
    upscaling_resize_h: int = Field(default=512, ge=1, description="pixels")
    upscaler_1: str = "None"


class ExtrasSingleImageRequest(ExtrasBaseRequest):
    image: str = Field(default="", description="in base64")


class ExtrasSingleImageResponse(BaseModel):
    html_info: str
    image: str | None = Field(default=None, description="in base64")


class PNGInfoRequest(BaseModel):
    image: str = Field(description="in base64")


class PNGInfoResponse(BaseModel):
    info: str = Field(description="the picture's parameters, as they stand in the file")
    items: dict = Field(default={}, description="its other texts")
    parameters: dict = Field(default={}, description="the parameters one by one")


class ProgressRequest(BaseModel):
    skip_current_image: bool = False


class ProgressResponse(BaseModel):
    progress: float = Field(description="0 to 1")
    eta_relative: float = Field(description="seconds to go")
    state: dict
    current_image: str | None = Field(default=None, description="preview in base64")
    textinfo: str | None = None


def _option_fields() -> dict[str, Any]:
    """Every option; numbers may have a fraction."""
    fields: dict[str, Any] = {}
    for key, info in opts.data_labels.items():
        kind = type(info.default)
        known: Any = opts.typemap.get(kind, kind) if info.default is not None else Any
        # other values than the default's type are the option's own business (lists, functions of extensions)
        fields[key] = (known | None, Field(default=info.default, description=info.label))
    return fields


OptionsModel = create_model("Options", __config__=ConfigDict(protected_namespaces=()), **_option_fields())


def _flag_fields() -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for flag in parser._actions:
        if flag.dest != "help":
            kind = type(flag.default) if flag.default is not None else Any
            fields[flag.dest] = (kind | None, Field(default=flag.default, description=flag.help))
    return fields


FlagsModel = create_model("Flags", __config__=ConfigDict(protected_namespaces=()), **_flag_fields())


class _Listed(BaseModel):
    """An entry of a list that clients choose from; names that begin with `model_` are no matter of pydantic's."""

    model_config = ConfigDict(protected_namespaces=())


class _Named(_Listed):
    name: str


class SamplerItem(_Named):
    aliases: list[str]
    options: dict[str, str]


class SchedulerItem(_Named):
    label: str
    aliases: list[str] | None = None
    default_rho: float | None = None
    need_inner_model: bool | None = None


class UpscalerItem(_Named):
    model_name: str | None = None
    model_path: str | None = None
    model_url: str | None = None
    scale: float | None = None


class LatentUpscalerModeItem(_Named):
    pass


class SDModelItem(_Listed):
    title: str
    model_name: str
    filename: str
    hash: str | None = Field(default=None, description="the first characters of sha256")
    sha256: str | None = None
    config: str | None = None


class SDVaeItem(_Listed):
    model_name: str
    filename: str


class HypernetworkItem(_Named):
    path: str | None = None


class FaceRestorerItem(_Named):
    cmd_dir: str | None = None


class RealesrganItem(_Named):
    path: str | None = None
    scale: int | None = None


class PromptStyleItem(_Named):
    prompt: str | None = None
    negative_prompt: str | None = None


class EmbeddingItem(BaseModel):
    shape: int = Field(description="channels")
    vectors: int = Field(description="tokens that it stands for")
    step: int | None = None
    sd_checkpoint: str | None = None
    sd_checkpoint_name: str | None = None


class EmbeddingsResponse(BaseModel):
    loaded: dict[str, EmbeddingItem]
    skipped: dict[str, EmbeddingItem] = Field(description="those of another text encoder's width")


class MemoryResponse(BaseModel):
    ram: dict = Field(description="bytes, or an error")
    cuda: dict = Field(description="bytes, or an error")


class ScriptsList(BaseModel):
    txt2img: list | None = None
    img2img: list | None = None


class ScriptArg(BaseModel):
    """A control; what it lacks is left open."""

    label: str | None = None
    value: Any = None
    minimum: Any = None
    maximum: Any = None
    step: Any = None
    choices: list[str] | None = None


class ScriptInfo(BaseModel):
    name: str | None = None
    is_alwayson: bool | None = None
    is_img2img: bool | None = None
    args: list[ScriptArg]
