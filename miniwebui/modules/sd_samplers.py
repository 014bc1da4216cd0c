"""The list of samplers, and finding one by name."""

import functools
import logging

from modules import (
    sd_samplers_common,
    sd_samplers_kdiffusion,
    sd_samplers_lcm,
    sd_samplers_timesteps,
    sd_schedulers,
    shared,
)

log = logging.getLogger(__name__)

samples_to_image_grid = sd_samplers_common.samples_to_image_grid
sample_to_image = sd_samplers_common.sample_to_image

all_samplers = [
    *sd_samplers_kdiffusion.samplers_data_k_diffusion,
    *sd_samplers_timesteps.samplers_data_timesteps,
    *sd_samplers_lcm.samplers_data_lcm,
]
all_samplers_map = {sampler.name: sampler for sampler in all_samplers}

samplers: list[sd_samplers_common.SamplerData] = []
samplers_for_img2img: list[sd_samplers_common.SamplerData] = []
samplers_map: dict[str, str] = {}
samplers_hidden: set[str] = set()

SAME_SAMPLER, SAME_SCHEDULER = "Use same sampler", "Use same scheduler"


def find_sampler_config(name):
    """The sampler of a name, the first one for None, None if there is no such name."""
    return all_samplers[0] if name is None else all_samplers_map.get(name)


def create_sampler(name, model):
    """A new sampler for a pass. Raises ValueError for a name that is not in the list."""
    config = find_sampler_config(name)
    if config is None:
        raise ValueError(f"Unknown sampler {name!r}; the samplers are: {', '.join(all_samplers_map)}.")
    sampler = config.constructor(model)
    sampler.config = config
    return sampler


def set_samplers() -> None:
    """Fill the lists that the page shows."""
    global samplers, samplers_for_img2img, samplers_hidden
    samplers_hidden = set(shared.opts.hide_samplers)
    samplers = samplers_for_img2img = all_samplers
    samplers_map.clear()
    for sampler in all_samplers:
        for name in (sampler.name, *sampler.aliases):
            samplers_map[name.lower()] = sampler.name


def visible_samplers() -> list[sd_samplers_common.SamplerData]:
    return [sampler for sampler in samplers if sampler.name not in samplers_hidden]


def visible_sampler_names() -> list[str]:
    return [sampler.name for sampler in visible_samplers()]


def get_sampler_from_infotext(d: dict) -> str:
    return get_sampler_and_scheduler(d.get("Sampler"), d.get("Schedule type"))[0]


def get_scheduler_from_infotext(d: dict) -> str:
    return get_sampler_and_scheduler(d.get("Sampler"), d.get("Schedule type"))[1]


def get_hr_sampler_and_scheduler(d: dict) -> tuple[str, str]:
    """Sampler and schedule of the second pass, or "Use same …" where they are the first pass's."""
    first_sampler, first_scheduler = d.get("Sampler"), d.get("Schedule type")
    sampler, scheduler = d.get("Hires sampler", SAME_SAMPLER), d.get("Hires schedule type", SAME_SCHEDULER)
    sampler, scheduler = get_sampler_and_scheduler(
        first_sampler if sampler == SAME_SAMPLER else sampler,
        first_scheduler if scheduler == SAME_SCHEDULER else scheduler,
    )
    return (
        SAME_SAMPLER if sampler == first_sampler else sampler,
        SAME_SCHEDULER if scheduler == first_scheduler else scheduler,
    )


def get_hr_sampler_from_infotext(d: dict) -> str:
    return get_hr_sampler_and_scheduler(d)[0]


def get_hr_scheduler_from_infotext(d: dict) -> str:
    return get_hr_sampler_and_scheduler(d)[1]


def _split_scheduler(name: str):
    """'DPM++ 2M Karras' (before WebUI 1.9) -> ('DPM++ 2M', the Karras schedule)."""
    found = None
    for scheduler in sd_schedulers.schedulers:
        for suffix in (scheduler.label, scheduler.name, *(scheduler.aliases or [])):
            if name.endswith(" " + suffix):
                name, found = name[: -len(suffix) - 1], scheduler
                break
    return name, found


@functools.cache
def get_sampler_and_scheduler(sampler_name, scheduler_name, *, convert_automatic=True) -> tuple[str, str]:
    """Names as written anywhere -> (sampler, label of the schedule); unknown ones become the default.

    With convert_automatic a schedule that is the sampler's own becomes 'Automatic'.
    """
    automatic = sd_schedulers.schedulers[0]
    name, scheduler = _split_scheduler(sampler_name or samplers[0].name)
    scheduler = scheduler or sd_schedulers.schedulers_map.get(scheduler_name, automatic)
    sampler = all_samplers_map.get(name, samplers[0])
    if convert_automatic and sampler.options.get("scheduler") == scheduler.name:
        scheduler = automatic
    return sampler.name, scheduler.label


def fix_p_invalid_sampler_and_scheduler(p) -> None:
    """Bring p's sampler and schedule into today's form. Raises ValueError for an unknown sampler.

    The WebUI takes its first sampler for an unknown one, with a warning that is easily missed.
    """
    before = p.sampler_name, p.scheduler
    name, _ = _split_scheduler(p.sampler_name or samplers[0].name)
    if name not in all_samplers_map:
        raise ValueError(f"Unknown sampler {name!r}; the samplers are: {', '.join(all_samplers_map)}.")
    p.sampler_name, p.scheduler = get_sampler_and_scheduler(*before, convert_automatic=False)
    if (p.sampler_name, p.scheduler) != before and before[1] is not None:
        log.warning("Sampler and schedule %s are read as %s", before, (p.sampler_name, p.scheduler))


set_samplers()
