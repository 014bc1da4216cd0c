"""Which device and which precision, as `modules.devices` of the WebUI does.

`device` and the dtypes are set when this is imported, from the command line.
The random functions (`randn` …) are put here by `modules.rng`.
"""

import contextlib

import torch

from modules.shared_cmd_options import cmd_opts

cpu: torch.device = torch.device("cpu")
device: torch.device = cpu
device_esrgan: torch.device = cpu
fp8: bool = False
force_fp16: bool = False
dtype: torch.dtype = torch.float32
dtype_vae: torch.dtype = torch.float32
dtype_unet: torch.dtype = torch.float32
dtype_inference: torch.dtype = torch.float32
unet_needs_upcast = False


class NansException(Exception):
    """The network produced not-a-number."""


def has_mps() -> bool:
    return torch.backends.mps.is_available()


def get_cuda_device_string() -> str:
    return "cuda" if cmd_opts.device_id is None else f"cuda:{cmd_opts.device_id}"


def get_optimal_device_name() -> str:
    if torch.cuda.is_available():
        return get_cuda_device_string()
    return "mps" if has_mps() else "cpu"


def get_optimal_device() -> torch.device:
    return torch.device(get_optimal_device_name())


def get_device_for(task: str) -> torch.device:
    """The device for a task ('sd', 'esrgan' …): the CPU where the command line's --use-cpu names it."""
    return cpu if {task, "all"} & {*cmd_opts.use_cpu} else get_optimal_device()


def initialize() -> None:
    """Choose device and precision: half precision on a GPU, unless the command line forbids it."""
    global device, device_esrgan, dtype, dtype_vae, dtype_unet, dtype_inference
    device = get_device_for("sd")
    device_esrgan = get_device_for("esrgan")
    half = device.type == "cuda" and not cmd_opts.no_half
    dtype = torch.float16 if half else torch.float32
    dtype_vae = torch.float32 if cmd_opts.no_half_vae else dtype
    dtype_unet = dtype_inference = dtype


def torch_gc() -> None:
    """Give cached GPU memory back."""
    if torch.cuda.is_available():
        with torch.cuda.device(get_cuda_device_string()):
            torch.cuda.empty_cache()
            torch.cuda.ipc_collect()


def cond_cast_unet(input: torch.Tensor) -> torch.Tensor:
    return input.to(dtype_unet) if unet_needs_upcast else input


def cond_cast_float(input: torch.Tensor) -> torch.Tensor:
    return input.float() if unet_needs_upcast else input


def autocast(disable: bool = False):
    """A context of mixed precision, where half precision is in use."""
    if disable or dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type)


def without_autocast(disable: bool = False):
    """A context that suspends `autocast`."""
    if disable or not torch.is_autocast_enabled():
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


NETWORKS = {"unet": ("UNet", "--no-half"), "vae": ("VAE", "--no-half-vae")}
"""(name, flag that keeps it from half precision) of what can overflow."""


def test_for_nans(x: torch.Tensor, where: str) -> None:
    """Raise NansException if the first element of x is not a number (one element, as the WebUI does)."""
    if cmd_opts.disable_nan_check or not torch.isnan(x.flatten()[0]):
        return
    name, flag = NETWORKS.get(where, ("network", None))
    ways = [f"with {flag} it works in float32"] if flag and dtype == torch.float16 else []
    ways.append("with --disable-nan-check nobody looks")
    raise NansException(f"The {name} gave not-a-number (NaN): {'; '.join(ways)}.")


def enable_tf32() -> None:
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True


enable_tf32()
initialize()
