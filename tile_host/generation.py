"""One generation with Tiled Diffusion: what is put into the host, when, and that all of it is taken out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor
from tqdm import tqdm

from tile_host import pace
from tile_host.colours import HeldPictures, HeldSteps, LetGoLater, can_hold
from tile_host.composition import Part, drawn_in_stages, plan_of
from tile_host.door import host
from tile_host.hosts.protocol import Denoise, Step
from tile_host.life import Generation
from tile_host.noise_inversion import InversionCache, NoiseInversion
from tile_host.pass_words import check_latent, log_pass, warn_of
from tile_host.passes import Kept, Pass
from tile_host.picture_text import picture_text
from tile_host.pixels import as_tensor
from tile_host.region_files import written_regions
from tile_host.rows import Asked
from tile_host.tile_words import check_interrogator, looked_at
from tile_host.upscaling import prepared_input
from tile_host.words import check_prompts, in_pictures, without_comments
from tile_methods.joins import Joins, joined
from tile_methods.noise import add_noise
from tile_methods.stages import Composition, Size
from tile_utils import patching, tile_words
from tile_utils.grid import make_grid
from tile_utils.infotext import to_infotext
from tile_utils.settings import SEAMLESS, RegionSettings, SettingsError, TiledDiffusionSettings
from tile_utils.surface import OPT_F
from tile_utils.tile_words import Spot

INFOTEXT_KEY = "Tiled Diffusion"
NO_PICTURE = (
    "'Words for each tile' is '{}', which needs a picture to look at: it works in img2img and with 'Composition "
    "first'."
)
NOT_SAMPLED = (
    "Another script draws in its own way and gives no pass to Tiled Diffusion: nothing was tiled, and no region was "
    "drawn."
)


class TiledGeneration(Generation):
    """See `docs/how-it-works.md` for the order of the host's hooks."""

    def __init__(
        self, settings: TiledDiffusionSettings, is_img2img: bool, inversions: InversionCache
    ) -> None:
        super().__init__()
        self.settings = settings
        self._is_img2img = is_img2img
        self._inversions = inversions
        self._inversion: NoiseInversion | None = None
        self._pass = self.stack.enter_context(ExitStack())  # what is changed for the current sampling pass
        self._vae = self.stack.enter_context(ExitStack())  # what is changed on the VAE in use
        self._wraps = (False, False)
        self._passes = 0  # begun for the current batch
        self._waiting = False  # the last pass was hooked, and no model call came
        self._active: list[tuple[int, RegionSettings]] = []  # regions that are switched on
        self._written = settings.regions  # into the picture
        self._said: dict[int, list[RegionSettings]] = {}  # regions that are on as they are in each picture
        self._seeds: dict[int, int] = {}  # of these, for the first picture
        self._held_pictures: HeldPictures | None = None  # of the current batch
        self._part: Part | None = None  # of a picture that is composed first, which is being drawn
        self._start: Tensor | None = None  # the pictures that it starts from
        self._seen: tuple[Spot, ...] = ()  # by an interrogator, of the current batch

    def begin(self, p: Any) -> None:
        """The input, the image size, and what is written into the picture.

        Raises:
            SettingsError: input or size cannot be drawn, or a region's prompt.
        """
        if self.settings.enable_bbox_control:
            regions = map(without_comments, self.settings.regions)
            self._active = [(i, region) for i, region in enumerate(regions) if region.enable]
        check_prompts(self._active)
        if tile_words.spots(self.settings.tile_prompts) is None:
            check_interrogator(self.settings.tile_prompts)
        # the host's *Tiling* joins all edges
        self._wraps = (True, True) if p.tiling else SEAMLESS[self.settings.seamless]
        if any(self._wraps):
            self.stack.enter_context(host.vae.checkpoint_followed(self._join_vae))
            self._join_vae(p.sd_model)
        if self._is_img2img:
            self.stack.enter_context(prepared_input(p, self.settings, self._wraps))
            if self.settings.noise_inverse:
                self._inversion = NoiseInversion(self.settings, self._inversions)
                self.stack.enter_context(self._inversion.sampler(p))
        elif self.settings.overwrite_size:
            self._overwrite_size(p)
        self._seeds = {
            i: region.seed if region.seed >= 0 else host.sampling.drawn_seed(p, i)
            for i, region in self._active
        }
        self._written, sentence = written_regions(self.settings)
        if sentence:
            host.job.tell(p, sentence)
        self._write_text(p)

    def _write_text(self, p: Any) -> None:
        """Into a dict of its own: an X/Y/Z plot's copies of `p` share theirs."""
        text = picture_text(self._infotext(p, use_main_prompt=True), self._infotext)
        p.extra_generation_params = {**p.extra_generation_params, INFOTEXT_KEY: text}

    def _join_vae(self, model: Any) -> None:
        """Pad this checkpoint's VAE by what lies at the opposite edge. Called again when the host changes it."""
        self._vae.close()
        self._vae.enter_context(joined([host.vae.network(model)], Joins(self._wraps)))

    def _overwrite_size(self, p: Any) -> None:
        """Raises SettingsError for a size that no latent has."""
        multiple = host.facts.size_multiple()
        for label, name in (("Image width", "width"), ("Image height", "height")):
            size = getattr(self.settings, f"image_{name}")
            if size % multiple:
                raise SettingsError(
                    f"Tiled Diffusion: '{label}' is {size}; allowed are multiples of {multiple}."
                )
            self.stack.enter_context(patching.attribute(p, name, size))

    def _infotext(
        self, p: Any, index: int = 0, all_seeds: Any = None, use_main_prompt: bool = False, **_scope: Any
    ) -> str:
        """What is written into picture `index`, of the batch if the host's `all_seeds` are the batch's: with the seeds
        that its regions really had."""
        settings = self.settings
        if self._seen:
            settings = replace(settings, tile_prompts=tile_words.written(self._seen, index))
        if all_seeds is p.seeds and not use_main_prompt:
            index += p.iteration * p.batch_size
        regions = list(self._written)
        for number, region in self._active:
            said = self._said[number][index] if number in self._said else region
            if said != region:  # wildcards were drawn
                regions[number] = replace(regions[number], prompt=said.prompt, neg_prompt=said.neg_prompt)
            regions[number] = replace(regions[number], seed=self._seeds[number] + index)
        return to_infotext(replace(settings, regions=tuple(regions)))

    def begin_pass(self, p: Any, x: Tensor, noise: Tensor, conds: Any) -> None:
        """Before each sampling. The order matters: the noise is put in before it is inverted, and inverted by the
        pass' own regions and networks before the pass is hooked.

        Args:
            p: the host's processing object, with its sampler.
            x: the latent about to be sampled, [B, C, H, W].
            noise: the noise it will be given, of the same shape; regions and noise inversion put their own into it.
            conds: the host's conditions of the positive prompts.

        Raises:
            SettingsError: a latent that tiles do not fit.
        """
        self.end_pass()
        check_latent(x)
        if self._composes_first(p):
            composition = plan_of(p, self.settings, Size(x.shape[-2], x.shape[-1]))
            if composition.stages:
                self._pass.enter_context(self._composed(p, composition))
                return
        if not self._said and self._active:  # the scripts that write prompts have all done so
            self._said = {i: in_pictures(p, i, region, self._seeds[i]) for i, region in self._active}
            self._write_text(p)
        first = p.iteration * p.batch_size
        regions = [(i, self._said[i][first : first + p.batch_size]) for i, _ in self._active]
        size = (x.shape[-2], x.shape[-1])
        settings = self.settings if self._part is None else self._part.settings(self.settings)
        is_stage, spots = self._part is not None, self._words_of_tiles(p, settings, size)
        kept = _kept(p, x, conds)
        drawn = Pass(p, settings, regions, size, x.device, is_stage, spots, kept, self._wraps)
        log_pass(self._name(p), drawn, settings)
        self._pass.enter_context(drawn.networks.restored())
        self._add_noise(p, drawn, noise)
        if self._inversion is not None:
            self._inversion.replace(p, x, noise, conds, drawn)
        self._hold(p, drawn, x, conds)
        if not drawn.plain:
            warn_of(p, drawn)
        if drawn.after or not drawn.plain:
            self._hook(p, drawn, x.shape[0])
        self._pass.enter_context(host.sampling.followed(p, self.end_pass))
        self._passes += 1

    def _words_of_tiles(
        self, p: Any, page: TiledDiffusionSettings, size: tuple[int, int]
    ) -> tuple[Spot, ...]:
        """Those that are given, or that an interrogator says of the picture which the pass starts from."""
        if not page.tile_prompts or (self._part is not None and self._part.is_first):
            return ()
        found = tile_words.spots(page.tile_prompts)
        if found is not None:
            return found
        pictures = self._starts_from(p)
        if pictures is None or pictures.shape[-1] != size[1] * OPT_F:
            host.job.tell(p, NO_PICTURE.format(page.tile_prompts))
            return ()
        grid = make_grid(size[1], size[0], page.tile_width, page.tile_height, page.overlap)
        if len(grid) == 1:
            return ()
        self._seen = looked_at(p, check_interrogator(page.tile_prompts), pictures, grid)
        return self._seen

    def _starts_from(self, p: Any) -> Tensor | None:
        """The pictures that the pass draws over, [N, 3, H, W]; None: it starts from noise, or from a latent alone."""
        return as_tensor(host.pictures.encoded(p)) if self._is_img2img else self._start

    def _composes_first(self, p: Any) -> bool:
        """Is a picture of the model's own size drawn before this pass? Not within, nor before a hires pass."""
        wanted = self.settings.composition_first and not self._is_img2img
        return wanted and self._part is None and not host.sampling.is_hires(p)

    @contextmanager
    def _composed(self, p: Any, composition: Composition) -> Iterator[None]:
        """Inside, the first picture and its stages take the place of what the pass' sampler would draw."""

        def begin(part: Part | None, start: Tensor | None) -> None:
            self._part, self._start = part, start

        def composing(_sample: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *_args, **_kwargs: drawn_in_stages(
                p, self.settings, composition, self._wraps, begin
            )

        with patching.wrapped(p.sampler, "sample", composing):
            yield

    def _name(self, p: Any) -> str:
        if self._part is not None:
            return self._part.name
        return "hires pass" if host.sampling.is_hires(p) else "pass"

    def _add_noise(self, p: Any, drawn: Pass, noise: Tensor) -> None:
        """Give regions the noise of their own seeds; picture i of the generation has seed + i."""
        if not drawn.windows:
            return
        first = p.iteration * p.batch_size
        # img2img's; the host has applied it to its own noise.
        scale = getattr(p, "initial_noise_multiplier", 1.0)
        for row in range(noise.shape[0]):
            seeds = {index: self._seeds[index] + first + row for index in drawn.windows}
            own = [
                host.sampling.seeded_noise(seeds[index], (noise.shape[1], window.h, window.w), noise) * scale
                for index, window in drawn.windows.items()
            ]
            masks = [region.mask for region in drawn.layout.regions]
            add_noise(noise[row], list(drawn.windows.values()), own, drawn.layout.surface, masks)

    def _hold(self, p: Any, drawn: Pass, x: Tensor, conds: Any) -> None:
        """What stays of the latent x, in a pass that starts from it: regions, colours; those of img2img's pictures too,
        once decoded."""
        is_stage = self._part is not None and not self._part.is_first
        starts_from_picture = self._is_img2img or host.sampling.is_hires(p) or is_stage
        if not starts_from_picture:
            return
        if drawn.strength is not None:
            drawn.after.append(LetGoLater(x, host.words.owners(conds), drawn.strength))
        if not (self.settings.hold_colours and can_hold(p)):
            return
        wraps = drawn.layout.surface.wraps
        drawn.after.append(HeldSteps(p, x, host.words.owners(conds), wraps))
        pictures = self._starts_from(p)
        if pictures is not None:
            self._held_pictures = HeldPictures(p, pictures, wraps)

    def _hook(self, p: Any, drawn: Pass, pictures: int) -> None:
        bar = tqdm(desc="Tiled Diffusion", unit="batch", leave=False, disable=host.job.progress_hidden())
        progress = self._pass.enter_context(bar)
        late = 0 if self._part is None else self._part.late
        tick = self._pass.enter_context(pace.measured(drawn.work * pictures))

        def call(model: Denoise, x: Tensor, sigma: Tensor, cond: Any, step: Step, asked: Asked) -> Tensor:
            self._waiting = False
            tick(step.number)
            after_batch = _advancing(progress, step, drawn.batches)
            asked = replace(asked, step=asked.step + late)
            return drawn.denoise(model, x, sigma, cond, step, asked, after_batch)

        self._pass.enter_context(host.sampling.hooked(p, call, drawn.largest))
        self._waiting = True

    def end_pass(self) -> None:
        """Undo what the current pass has changed."""
        self._pass.close()

    def end_batch(self, p: Any) -> None:
        """After the sampling of a batch, all its passes."""
        self.end_pass()
        if not self._passes and not host.job.interrupted():
            host.job.tell(p, NOT_SAMPLED)
        if self._waiting:  # something else has drawn: the picture's text must not say that we did
            p.extra_generation_params.pop(INFOTEXT_KEY, None)
        self._passes, self._waiting = 0, False

    def end_pictures(self, pictures: Tensor) -> None:
        """A batch is decoded, [B, 3, H, W] in 0 … 1; changed in place."""
        if self._held_pictures is not None and self._held_pictures.fits(pictures):
            self._held_pictures.change(pictures)
        self._held_pictures = None


def _kept(p: Any, x: Tensor, conds: Any) -> Kept | None:
    """What a mask keeps of the latent x; None: nothing."""
    needed = host.sampling.needed(p)
    if needed is None or needed.shape != x.shape[-2:] or needed.all():
        return None
    parts, _ = host.words.positives(conds, 0)
    return Kept(needed.to(x.device), x, [[row for row, _ in rows] for rows in parts])


def _advancing(progress: tqdm[Any], step: Step, batches: int) -> Callable[[], None]:
    """What is called after each batch: moves the bar, and stops where the user asked to."""
    done = 0

    def after_batch() -> None:
        nonlocal done
        done += 1
        progress.total = batches * step.calls or None
        # A step may come in several calls (cond and uncond apart): the bar follows the step, never back.
        progress.update(max(0, step.call * batches + done - progress.n))
        host.job.stop_if_interrupted()

    return after_batch
