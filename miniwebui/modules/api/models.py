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

API_NOT_ALLOWED = [
    "self",
    "kwargs",
    "sd_model",
    "outpath_samples",
    "outpath_grids",
    "sampler_index",
    "extra_generation_params",
    "overlay_images",
    "do_not_reload_embeddings",
    "seed_enable_extras",
    "prompt_for_display",
    "sampler_noise_scheduler_override",
    "ddim_discretize",
]
TYPES = {**vars(typing), **vars(processing_base), **vars(processing)}


class ModelDef(BaseModel):
    """One field of a generated model."""

    field: str
    field_alias: str
    field_type: Any = None
    field_value: Any = None
    field_exclude: bool = False


class PydanticModelGenerator:
    """Makes a model of a class's constructor arguments and of further fields."""

    def __init__(
        self, model_name: Any = None, class_instance: Any = None, additional_fields: Any = None
    ) -> None:
        self._model_name = model_name
        parameters: dict[str, inspect.Parameter] = {}
        for cls in inspect.getmro(class_instance):
            if cls is not object:
                parameters.update(inspect.signature(cls.__init__).parameters)
        own = [
            ModelDef(
                field=name,
                field_alias=name,
                field_type=_type_of(parameter),
                field_value=None if isinstance(parameter.default, property) else parameter.default,
            )
            for name, parameter in parameters.items()
            if name not in API_NOT_ALLOWED
        ]
        more = [
            ModelDef(
                field=entry["key"],
                field_alias=entry["key"],
                field_type=entry["type"] | None,
                field_value=entry["default"],
                field_exclude=entry.get("exclude", False),
            )
            for entry in additional_fields or []
        ]
        self._model_def = [*own, *more]

    def generate_model(self) -> type[BaseModel]:
        fields: dict[str, Any] = {
            d.field: (
                d.field_type,
                Field(default=d.field_value, alias=d.field_alias, exclude=d.field_exclude or None),
            )
            for d in self._model_def
        }
        config = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True, protected_namespaces=())
        return create_model(self._model_name, __config__=config, **fields)


def _type_of(parameter: inspect.Parameter) -> Any:
    """Pictures are sent as base64 texts; everything may be left out."""
    annotation = parameter.annotation
    if annotation in ("Image", "Image.Image", Image, Image.Image):
        annotation = str
    if isinstance(annotation, str):
        annotation = eval(annotation, TYPES)  # the annotations of our own dataclasses
    return annotation | None


GENERATION_FIELDS: list[dict[str, Any]] = [
    {"key": "script_name", "type": str, "default": None},
    {"key": "script_args", "type": list, "default": []},
    {"key": "send_images", "type": bool, "default": True},
    {"key": "save_images", "type": bool, "default": False},
    {"key": "alwayson_scripts", "type": dict, "default": {}},
    {"key": "force_task_id", "type": str, "default": None},
    {"key": "infotext", "type": str, "default": None},
]

StableDiffusionTxt2ImgProcessingAPI = PydanticModelGenerator(
    "StableDiffusionProcessingTxt2Img",
    StableDiffusionProcessingTxt2Img,
    [{"key": "sampler_index", "type": str, "default": "Euler"}, *GENERATION_FIELDS],
).generate_model()

StableDiffusionImg2ImgProcessingAPI = PydanticModelGenerator(
    "StableDiffusionProcessingImg2Img",
    StableDiffusionProcessingImg2Img,
    [
        {"key": "sampler_index", "type": str, "default": "Euler"},
        {"key": "init_images", "type": list, "default": None},
        {"key": "denoising_strength", "type": float, "default": 0.75},
        {"key": "mask", "type": str, "default": None},
        {"key": "include_init_images", "type": bool, "default": False, "exclude": True},
        *GENERATION_FIELDS,
    ],
).generate_model()


class TextToImageResponse(BaseModel):
    images: list[str] | None = Field(default=None, title="Image", description="in base64")
    parameters: dict
    info: str


class ImageToImageResponse(TextToImageResponse):
    pass


class ExtrasBaseRequest(BaseModel):
    resize_mode: Literal[0, 1] = Field(
        default=0, title="Resize Mode", description="0: by a factor, 1: to a size"
    )
    upscaling_resize: float = Field(default=2, title="Upscaling Factor", gt=0)
    upscaling_resize_w: int = Field(default=512, title="Target Width", ge=1)
    upscaling_resize_h: int = Field(default=512, title="Target Height", ge=1)
    upscaler_1: str = Field(default="None", title="Main upscaler")


class ExtrasSingleImageRequest(ExtrasBaseRequest):
    image: str = Field(default="", title="Image", description="in base64")


class ExtrasSingleImageResponse(BaseModel):
    html_info: str = Field(title="HTML info")
    image: str | None = Field(default=None, title="Image", description="in base64")


class PNGInfoRequest(BaseModel):
    image: str = Field(title="Image", description="The base64 encoded PNG image")


class PNGInfoResponse(BaseModel):
    info: str = Field(title="Image info", description="the parameters used to generate the image")
    items: dict = Field(default={}, title="Items", description="all the other fields the image had")
    parameters: dict = Field(default={}, title="Parameters", description="parsed generation info fields")


class ProgressRequest(BaseModel):
    skip_current_image: bool = Field(default=False, title="Skip current image")


class ProgressResponse(BaseModel):
    progress: float = Field(title="Progress", description="The progress with a range of 0 to 1")
    eta_relative: float = Field(title="ETA in secs")
    state: dict = Field(title="State", description="The current state snapshot")
    current_image: str | None = Field(default=None, title="Current image", description="in base64")
    textinfo: str | None = Field(default=None, title="Info text", description="Info text used by WebUI.")


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


class SamplerItem(BaseModel):
    name: str = Field(title="Name")
    aliases: list[str] = Field(title="Aliases")
    options: dict[str, str] = Field(title="Options")


class SchedulerItem(BaseModel):
    name: str = Field(title="Name")
    label: str = Field(title="Label")
    aliases: list[str] | None = Field(default=None, title="Aliases")
    default_rho: float | None = Field(default=None, title="Default Rho")
    need_inner_model: bool | None = Field(default=None, title="Needs Inner Model")


class _Named(BaseModel):
    model_config = ConfigDict(protected_namespaces=())
    name: str = Field(title="Name")


class UpscalerItem(_Named):
    model_name: str | None = Field(default=None, title="Model Name")
    model_path: str | None = Field(default=None, title="Path")
    model_url: str | None = Field(default=None, title="URL")
    scale: float | None = Field(default=None, title="Scale")


class LatentUpscalerModeItem(_Named):
    pass


class SDModelItem(BaseModel):
    model_config = ConfigDict(protected_namespaces=())
    title: str = Field(title="Title")
    model_name: str = Field(title="Model Name")
    hash: str | None = Field(default=None, title="Short hash")
    sha256: str | None = Field(default=None, title="sha256 hash")
    filename: str = Field(title="Filename")
    config: str | None = Field(default=None, title="Config file")


class SDVaeItem(BaseModel):
    model_config = ConfigDict(protected_namespaces=())
    model_name: str = Field(title="Model Name")
    filename: str = Field(title="Filename")


class HypernetworkItem(_Named):
    path: str | None = Field(default=None, title="Path")


class FaceRestorerItem(_Named):
    cmd_dir: str | None = Field(default=None, title="Path")


class RealesrganItem(_Named):
    path: str | None = Field(default=None, title="Path")
    scale: int | None = Field(default=None, title="Scale")


class PromptStyleItem(_Named):
    prompt: str | None = Field(default=None, title="Prompt")
    negative_prompt: str | None = Field(default=None, title="Negative Prompt")


class EmbeddingItem(BaseModel):
    step: int | None = Field(default=None, title="Step")
    sd_checkpoint: str | None = Field(default=None, title="SD Checkpoint")
    sd_checkpoint_name: str | None = Field(default=None, title="SD Checkpoint Name")
    shape: int = Field(title="Shape", description="The length of each individual vector in the embedding")
    vectors: int = Field(title="Vectors", description="The number of vectors in the embedding")


class EmbeddingsResponse(BaseModel):
    loaded: dict[str, EmbeddingItem] = Field(title="Loaded")
    skipped: dict[str, EmbeddingItem] = Field(title="Skipped")


class MemoryResponse(BaseModel):
    ram: dict = Field(title="RAM", description="System memory stats")
    cuda: dict = Field(title="CUDA", description="nVidia CUDA memory stats")


class ScriptsList(BaseModel):
    txt2img: list | None = Field(default=None, title="Txt2img", description="Titles of scripts (txt2img)")
    img2img: list | None = Field(default=None, title="Img2img", description="Titles of scripts (img2img)")


class ScriptArg(BaseModel):
    label: str | None = Field(default=None, title="Label", description="Name of the argument in UI")
    value: Any = Field(default=None, title="Value", description="Default value of the argument")
    minimum: Any = Field(default=None, title="Minimum", description="Minimum allowed value")
    maximum: Any = Field(default=None, title="Maximum", description="Maximum allowed value")
    step: Any = Field(default=None, title="Step", description="Step for changing the value")
    choices: list[str] | None = Field(default=None, title="Choices", description="Possible values")


class ScriptInfo(_Named):
    name: str | None = Field(default=None, title="Name", description="Script name")
    is_alwayson: bool | None = Field(default=None, title="IsAlwayson")
    is_img2img: bool | None = Field(default=None, title="IsImg2img")
    args: list[ScriptArg] = Field(title="Arguments", description="List of script's arguments")


class ExtensionItem(_Named):
    remote: str = Field(title="Remote", description="Extension Repository URL")
    branch: str = Field(title="Branch", description="Extension Repository Branch")
    commit_hash: str = Field(title="Commit Hash", description="Extension Repository Commit Hash")
    version: str = Field(title="Version", description="Extension Version")
    commit_date: str = Field(title="Commit Date", description="Extension Repository Commit Date")
    enabled: bool = Field(title="Enabled")
