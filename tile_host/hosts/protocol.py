"""What a host must give. `p` is always its processing object: one generation, with its sampler, prompts, pictures."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from tile_host.rows import Asked, Text
from tile_methods.fuse import Prediction
from tile_methods.stages import Size
from tile_utils.surface import Surface

Denoise = Callable[[Tensor, Tensor, Any], Tensor]
"""`denoise(x [B, C, h, w], sigma [B], cond) -> prediction [B, C, h, w]`: the host's own model"""
DenoiserCall = Callable[[Denoise, Tensor, Tensor, Any, "Step", Asked], Tensor]
"""`call(model, x, sigma, cond, step, asked)`, which takes the place of `model(x, sigma, cond)`"""
Mentions = Mapping[str, list[Any]]
"""The networks that a prompt mentions: a kind's name -> its parameters, as the host has them."""


@dataclass(frozen=True)
class Step:
    """Where a sampling pass is.

    Args:
        number: of the sampler's step, from 0; samplers of second order call the model twice in it.
        call: of the model's call, from 0.
        calls: there will be; 0 if that is not known.
    """

    number: int
    call: int
    calls: int


class Facts(Protocol):
    """What the host, its device and its checkpoint are."""

    def device(self) -> torch.device:
        """Where the host draws."""

    def device_memory(self) -> int | None:
        """Total memory of the device that draws, in MiB; None where it is no GPU that tells."""

    def free_memory(self) -> int | None:
        """Memory of that device which is free, in MiB, torch's own cache included; None as above."""

    def free_gpu(self) -> str:
        """Drop what is cached, on every device; returns a sentence for the user."""

    def collect(self) -> None:
        """Give unused memory back to the device."""

    def bytes_per_number(self) -> int:
        """Size of the numbers that the denoiser computes with."""

    def native_side(self) -> int | None:
        """Latent side of the pictures that the checkpoint was trained on; None while none is loaded."""

    def size_multiple(self) -> int:
        """Pixels of which the checkpoint wants a picture's sides to be a multiple: 8, or more."""

    def latent_factor(self) -> int:
        """Pixels a side of a latent pixel of the checkpoint."""

    def checkpoint(self) -> Hashable:
        """Equal while the same weights are in use."""

    def warnings(self, p: Any, same_aspect: bool) -> Iterator[str]:
        """A sentence for each thing that is on and does not go with tiles.

        Args:
            same_aspect: every tile and region has the canvas' ratio of width to height.
        """


class Job(Protocol):
    """The work that the host is at, and the person who waits for it."""

    def number(self) -> Hashable:
        """Differs from job to job."""

    def fail(self, p: Any, error: Exception) -> None:
        """End the generation with `error`, from a hook that comes before its preparations."""

    def fail_pass(self, p: Any, error: Exception) -> None:
        """The same, from the hook that comes before a sampling pass."""

    def interrupted(self) -> bool:
        """Has the user asked to stop, or to go on with the next batch?"""

    def stop_if_interrupted(self) -> None:
        """Raises what `is_interruption` knows when the user asked to; the host keeps the last latent."""

    def is_interruption(self, error: BaseException) -> bool:
        """Is it the host's way out of a sampler that was stopped?"""

    def tell(self, p: Any, sentence: str) -> None:
        """Put a sentence into the log and below the picture, once a generation."""

    def is_stopped(self) -> bool:
        """Has the user asked to stop the whole job?"""

    def presses_told(self, told: Callable[[], None]) -> AbstractContextManager[None]:
        """Inside, `told` is called at every request to stop; a flag does not tell the second from the first."""

    def progress_hidden(self) -> bool:
        """Has the user asked for no progress bars in the console?"""

    def more_passes(self, p: Any, steps: Sequence[int]) -> None:
        """Every batch of the generation takes passes of so many steps beside what the host knows of."""

    def next_pass(self) -> None:
        """One of them begins."""

    def report(self, text: str | None) -> None:
        """Tell the page what is being done; None: nothing in particular."""

    def report_steps(self, name: str, done: int, steps: int) -> None:
        """Tell the page how far a part of the work is that is no sampling."""

    def report_nothing(self) -> None:
        """What `report_steps` told is over; the sampling that follows counts anew."""

    def preview(self, denoised: Tensor) -> None:
        """Show this as the picture so far, [B, C, h, w]."""


class Sampling(Protocol):
    """One sampling pass."""

    def hooked(self, p: Any, call: DenoiserCall, largest: int) -> AbstractContextManager[None]:
        """Inside, every model call of the pass goes through `call`, a refiner's too.

        Args:
            largest: latent pixels a row of the largest call that `call` makes; a host that decides by memory what it
                asks together counts on no more.
        """

    def followed(self, p: Any, after: Callable[[], None]) -> AbstractContextManager[None]:
        """Inside, `after` is called when the pass' sampling has ended, by an error too."""

    def network(self, p: Any) -> nn.Module:
        """What denoises now: the network whose convolutions see their neighbours."""

    def is_hires(self, p: Any) -> bool:
        """Is this the hires pass?"""

    def steps_of_a_grid(self, p: Any) -> int:
        """For how many steps shifting tiles stay where they are: more than one where the sampler would carry on what a
        single grid leaves at its borders."""

    def model(self, p: Any) -> Denoise:
        """The model as the sampler calls it; to be called inside of `ready`."""

    def ready(self, p: Any, x: Tensor, largest: int) -> AbstractContextManager[None]:
        """Inside, the model may be called before the pass' sampling has begun, for a latent x [B, C, h, w].

        Args:
            largest: see `hooked`.
        """

    def prediction(self, p: Any, sigma: Tensor) -> Prediction:
        """How what that model says at noise levels (or timesteps) sigma [B] becomes x0."""

    def needed(self, p: Any) -> Tensor | None:
        """Where the mask lets this pass change the picture, [H, W] bool: elsewhere the host puts the init latent back,
        whatever the model says there. None: everywhere."""

    def condition(self, text: Any, image: Tensor) -> dict[str, Any]:
        """The `cond` of a model call. `text`: [rows, tokens, channels] or a dict; `image`: [rows, …]."""

    def retouched(self, p: Any, factor: float) -> AbstractContextManager[None]:
        """Inside, the model is told its timestep divided by `factor`."""

    def img2img_steps(self, p: Any) -> tuple[int, int]:
        """(steps of the whole schedule, steps of it that img2img draws, less one)."""

    def noise_between(self, latent: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        """The noise that the host would have to add to `latent` at noise level `sigma` to get `noisy`."""

    def seeded_noise(self, seed: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Unit normal noise from the host's generator, without touching its state."""

    def drawn_seed(self, p: Any, index: int) -> int:
        """A seed for region `index`, drawn from the picture's."""


class Encoded(Protocol):
    """A prompt and a negative prompt for every picture of a batch, encoded with their schedules."""

    def texts(self, step: float) -> list[Text]:
        """What a step's rows are told: conds picture by picture, then unconds."""


class Networks(Protocol):
    """The extra networks of one pass: those of the main prompt, and those of other prompts together with them."""

    keys: list[Hashable]
    """For each of the prompts; those of one key use the same networks, those of MAIN_NETWORKS the main prompt's."""
    in_use: Hashable

    def use(self, key: Hashable) -> None:
        """Make the networks of `key` the active ones; only those that differ are told."""

    def restored(self) -> AbstractContextManager[None]:
        """Afterwards, and whenever the host encodes its prompts anew, the main prompt's are active."""


class Words(Protocol):
    """Prompts, and what they mention."""

    def without_comments(self, prompt: str) -> str:
        """The prompt without what the host takes for comments."""

    def without_networks(self, prompt: str) -> tuple[str, Mentions]:
        """(the prompt without its mentions of networks, these)."""

    def resolved(self, p: Any, prompt: str, negative: str, seeds: Sequence[int]) -> list[tuple[str, str]]:
        """(prompt, negative prompt) for a picture of each seed, as extensions for wildcards write them."""

    def styled(self, p: Any, text: str, negative: bool) -> str:
        """What the host makes of a prompt by the generation's styles."""

    def prompts(self, p: Any) -> tuple[Sequence[str], Sequence[str]]:
        """(prompts, negative prompts) of this pass, one for each picture of the batch."""

    def encode(self, p: Any, prompts: list[str], negatives: list[str], mentions: Mentions) -> Encoded:
        """Encode for this pass."""

    def positives(self, conds: Any, step: float) -> tuple[list[list[tuple[int, float]]], Any]:
        """(for each picture the row and weight of each of its parts, the rows' text) of the host's own conditions."""

    def owners(self, conds: Any) -> list[int]:
        """The picture that each row of a step is about, of the host's conditions of the positive prompts."""

    def networks(self, p: Any, owns: Sequence[Mentions]) -> Networks:
        """The networks of this pass, for prompts that mention `owns` beside the main prompt's."""

    def networks_key(self, p: Any) -> str:
        """Equal while the main prompt uses the same networks."""

    def texts_of(self, cond: Any) -> list[Text]:
        """What each row of a model call is told."""

    def with_texts(self, cond: Any, texts: Sequence[Text]) -> Any:
        """The condition of a model call with these texts, of one length, for its rows."""

    def marked_as(self, text: Text, main: Text) -> Text:
        """A row's text with the mark that another extension has put in front of the main prompt's."""

    def tokens(self, text: Text) -> int:
        """Token length; rows of one length fit into one call."""


class Pictures(Protocol):
    """Pictures before they are latents."""

    def upscalers(self) -> list[str]:
        """Names of what can enlarge a picture, in the host's order; the first does nothing."""

    def upscaled(self, picture: Image.Image, factor: float, name: str) -> Image.Image:
        """The picture, each side `factor` times as long."""

    def interrogators(self) -> list[str]:
        """Names of what can say what a picture shows."""

    def caption(self, name: str, picture: Image.Image) -> str | None:
        """What it says; None where it cannot."""

    def opaque(self, picture: Image.Image) -> Image.Image:
        """RGB, transparent parts in the host's background colour."""

    def encoded(self, p: Any) -> list[Image.Image]:
        """The init images as the host encodes them, before masks: in the size that is drawn."""


class Stages(Protocol):
    """Passes that the host has no words for: of another size, or from a noise level on."""

    def sized(self, p: Any, size: Size) -> AbstractContextManager[None]:
        """Inside, the generation is one of this size, with a sampler, noise and conditions of its own."""

    def sampled(self, p: Any) -> Tensor:
        """A pass from noise alone, as the host's first one. [B, C, h, w]"""

    def entry(self, p: Any, sigma: float) -> tuple[int, int]:
        """(steps of the sampler's schedule from the noise level `sigma` on, model calls of it before that).

        Raises:
            SettingsError: the sampler has no schedule that can be entered.
        """

    def resampled(self, p: Any, latent: Tensor, sigma: float) -> Tensor:
        """A pass from a latent with noise of that level. [B, C, h, w]"""

    def decoded(self, p: Any, latent: Tensor) -> Tensor:
        """Pictures [B, 3, H, W], 0 … 1."""

    def encoded(self, p: Any, pictures: Tensor) -> Tensor:
        """Their latents."""


class Vae(Protocol):
    """The networks between pictures and latents."""

    def checkpoint_followed(self, found: Callable[[Any], None]) -> AbstractContextManager[None]:
        """Inside, `found` is told every checkpoint that the host puts in use, those held in memory too."""

    def network(self, model: Any) -> Any:
        """The VAE of a checkpoint: what has `encode` and `decode`, and as a rule `encoder` and `decoder`."""

    def counted_on(self, model: Any, encoder_side: int, decoder_side: int) -> AbstractContextManager[None]:
        """Inside, a host that makes room for the VAE counts on inputs of at most these sides, in pixels and latent
        pixels."""

    def approximation(self, model: Any, latent: Tensor) -> Tensor:
        """A cheap picture of a VAE's latent, [B, 3, 8h, 8w], of its dtype and device."""


class Hints(Protocol):
    """What the control networks of other extensions are shown in one pass: pictures of its canvas."""

    def beside(self, cond: Any) -> Any:
        """The condition of the canvas with the hints in it: what is cut and picked in it is so in them."""

    def shown(self, denoise: Denoise) -> Denoise:
        """The model, which takes the hints out of its condition and shows them."""

    def key(self) -> Hashable:
        """Equal while they change the predictions in the same way."""


class Controls(Protocol):
    """Other extensions' control networks."""

    def installed(self) -> list[str]:
        """The script files of the extensions that have them."""

    def let_go_first(self, file: str, script_class: type, hook: str) -> None:
        """Have `hook` of the script in our `file` called before theirs, whose hints depend on what it sets."""

    def hints(self, p: Any, surface: Surface, hires: bool, device: torch.device) -> Hints | None:
        """What they are shown in a pass on this surface, waiting on `device`; None where none is on.

        Raises:
            SettingsError: a version that is not known.
        """

    def networks(self, p: Any) -> list[nn.Module]:
        """Those that are on in this generation, as far as they are networks of torch."""

    def release(self, p: Any) -> None:
        """After an error: take out what they leave in the host, so that it cannot spoil another job."""


@dataclass(frozen=True)
class Host:
    """One host, in parts."""

    name: str
    facts: Facts
    job: Job
    sampling: Sampling
    words: Words
    pictures: Pictures
    vae: Vae
    controls: Controls
    stages: Stages
