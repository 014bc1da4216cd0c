"""X/Y/Z plot: one picture for every combination of up to three settings' values, on labelled grids.

Other extensions find this module in `scripts.scripts_data` and append to `axis_options`.
"""

import csv
import itertools
import os
import random
import re
from collections import namedtuple
from copy import copy
from io import StringIO

import gradio as gr
import numpy as np

from modules import errors, images, processing, scripts, sd_models, sd_samplers, sd_schedulers, shared
from modules.processing import Processed, StableDiffusionProcessingTxt2Img, process_images
from modules.shared import opts, state
from modules.ui_components import ToolButton

fill_values_symbol = "\U0001f4d2"  # 📒
AxisInfo = namedtuple("AxisInfo", ["axis", "values"])
SEED_LIMIT = 4294967294
SEED_AXES = ("Seed", "Var. seed")


def apply_field(field):
    """The value becomes that attribute of the processing object."""

    def fun(p, x, xs):
        setattr(p, field, x)

    return fun


def apply_prompt(p, x, xs):
    """The first value is searched in the prompts and replaced by each."""
    wanted = xs[0]
    if all(wanted not in text for text in (p.prompt, p.negative_prompt)):
        raise RuntimeError(f"X/Y/Z plot: 'Prompt S/R' searches for '{wanted}', which no prompt holds.")
    p.prompt, p.negative_prompt = (text.replace(wanted, x) for text in (p.prompt, p.negative_prompt))


def apply_order(p, x, xs):
    """The words of the prompt change their places."""
    places = sorted((p.prompt.find(token), token) for token in x)
    parts, end = [], 0
    for (place, token), replacement in zip(places, x):
        parts += [p.prompt[end:place], replacement]
        end = place + len(token)
    p.prompt = "".join([*parts, p.prompt[end:]])


def confirm_samplers(p, xs):
    unknown = [name for name in xs if name.lower() not in sd_samplers.samplers_map]
    if unknown:
        raise RuntimeError(f"X/Y/Z plot: there is no sampler '{unknown[0]}'.")


def apply_checkpoint(p, x, xs):
    p.override_settings["sd_model_checkpoint"] = sd_models.get_closet_checkpoint_match(x).name


def confirm_checkpoints(p, xs):
    unknown = [name for name in xs if sd_models.get_closet_checkpoint_match(name) is None]
    if unknown:
        raise RuntimeError(f"X/Y/Z plot: there is no checkpoint '{unknown[0]}'.")


def confirm_checkpoints_or_none(p, xs):
    confirm_checkpoints(p, [x for x in xs if x not in (None, "", "None", "none")])


def confirm_range(min_val, max_val, axis_label):
    def confirm_range_fun(p, xs):
        outside = [value for value in xs if not min_val <= value <= max_val]
        if outside:
            raise ValueError(f"'{axis_label}' is {outside[0]}; allowed is {min_val} to {max_val}.")

    return confirm_range_fun


def apply_size(p, x, xs):
    width, _, height = x.partition("x")
    p.width, p.height = int(width), int(height)


def apply_styles(p, x, _):
    p.styles.extend(x.split(","))


def apply_override(field, boolean=False):
    """The value becomes that option for the picture."""

    def fun(p, x, xs):
        p.override_settings[field] = x.lower() == "true" if boolean else x

    return fun


def boolean_choice(reverse=False):
    return lambda: ["False", "True"] if reverse else ["True", "False"]


def format_value_add_label(p, opt, x):
    return f"{opt.label}: {format_value(p, opt, x)}"


def format_value(p, opt, x):
    return round(x, 8) if isinstance(x, float) else x


def format_value_join_list(p, opt, x):
    return ", ".join(x)


def do_nothing(p, x, xs):
    """Of the axis that is none."""


def format_nothing(p, opt, x):
    return ""


def format_remove_path(p, opt, x):
    return os.path.basename(x)


def str_permutations(x):
    """As the type of an axis: its values are all orders of what is written."""
    return x


def list_to_csv_string(data_list):
    line = StringIO()
    csv.writer(line).writerow(data_list)
    return line.getvalue().strip()


def csv_string_to_list_strip(data_str):
    rows = csv.reader(StringIO(data_str), skipinitialspace=True)
    return [entry.strip() for entry in itertools.chain.from_iterable(rows)]


class AxisOption:
    """What an axis can change: `apply(p, x, xs)` sets the value x, one of xs, of the given type.

    `format_value(p, axis, x)` labels it, `confirm(p, xs)` raises for values that cannot be, `cost` orders the
    loops (dear changes are made rarely), `prepare(text)` splits what is written, `choices()` lists all values.
    """

    def __init__(
        self,
        label,
        type,
        apply,
        format_value=format_value_add_label,
        confirm=None,
        cost=0.0,
        choices=None,
        prepare=None,
    ):
        self.label = label
        self.type = type
        self.apply = apply
        self.format_value = format_value
        self.confirm = confirm
        self.cost = cost
        self.prepare = prepare
        self.choices = choices


class AxisOptionImg2Img(AxisOption):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.is_img2img = True


class AxisOptionTxt2Img(AxisOption):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.is_img2img = False


def _checkpoints():
    return sorted(sd_models.checkpoints_list, key=str.casefold)


def _upscalers():
    return [*shared.latent_upscale_modes, *[upscaler.name for upscaler in shared.sd_upscalers]]


axis_options = [
    AxisOption("Nothing", str, do_nothing, format_value=format_nothing),
    AxisOption("Seed", int, apply_field("seed")),
    AxisOption("Var. seed", int, apply_field("subseed")),
    AxisOption("Var. strength", float, apply_field("subseed_strength")),
    AxisOption("Steps", int, apply_field("steps")),
    AxisOptionTxt2Img("Hires steps", int, apply_field("hr_second_pass_steps")),
    AxisOption("CFG Scale", float, apply_field("cfg_scale")),
    AxisOption("Prompt S/R", str, apply_prompt, format_value=format_value),
    AxisOption("Prompt order", str_permutations, apply_order, format_value=format_value_join_list),
    AxisOption(
        "Sampler",
        str,
        apply_field("sampler_name"),
        format_value=format_value,
        confirm=confirm_samplers,
        choices=sd_samplers.visible_sampler_names,
    ),
    AxisOptionTxt2Img(
        "Hires sampler",
        str,
        apply_field("hr_sampler_name"),
        confirm=confirm_samplers,
        choices=sd_samplers.visible_sampler_names,
    ),
    AxisOption(
        "Checkpoint name",
        str,
        apply_checkpoint,
        format_value=format_remove_path,
        confirm=confirm_checkpoints,
        cost=1.0,
        choices=_checkpoints,
    ),
    AxisOption(
        "Schedule type",
        str,
        apply_field("scheduler"),
        choices=lambda: [scheduler.label for scheduler in sd_schedulers.schedulers],
    ),
    AxisOption("Eta", float, apply_field("eta")),
    AxisOption("Clip skip", int, apply_override("CLIP_stop_at_last_layers")),
    AxisOption("Denoising", float, apply_field("denoising_strength")),
    AxisOption("Initial noise multiplier", float, apply_field("initial_noise_multiplier")),
    AxisOptionTxt2Img("Hires upscaler", str, apply_field("hr_upscaler"), choices=_upscalers),
    AxisOption("Styles", str, apply_styles, choices=lambda: list(shared.prompt_styles.styles)),
    AxisOption(
        "SGM noise multiplier",
        str,
        apply_override("sgm_noise_multiplier", boolean=True),
        choices=boolean_choice(reverse=True),
    ),
    AxisOption(
        "Refiner checkpoint",
        str,
        apply_field("refiner_checkpoint"),
        format_value=format_remove_path,
        confirm=confirm_checkpoints_or_none,
        cost=1.0,
        choices=lambda: ["None", *_checkpoints()],
    ),
    AxisOption("Refiner switch at", float, apply_field("refiner_switch_at")),
    AxisOption("RNG source", str, apply_override("randn_source"), choices=lambda: ["GPU", "CPU", "NV"]),
    AxisOption("Size", str, apply_size),
]

_UNSIGNED = r"\s*\d+(?:\.\d*)?"
_SIGNED = rf"\s*([+-]?{_UNSIGNED})\s*"
re_range = re.compile(rf"{_SIGNED}-{_SIGNED}(?:\(([+-]{_UNSIGNED})\s*\))?\s*")
re_range_count = re.compile(rf"{_SIGNED}-{_SIGNED}\[(\d+)\s*]\s*")


def _numbers(text, kind):
    """What one entry of an axis of numbers stands for: "1-5", "1-9 (+2)", "1-10 [5]", or a number."""
    if counted := re_range_count.fullmatch(text):
        start, stop, count = counted.groups()
        return [kind(x) for x in np.linspace(float(start), float(stop), int(count))]
    if stepped := re_range.fullmatch(text):
        start, stop, step = (None if group is None else kind(group) for group in stepped.groups())
        step = step or 1
        if kind is int:
            return list(range(start, stop + (1 if step > 0 else -1), step))
        return np.arange(
            start, stop + step / 2, step
        ).tolist()  # half a step: rounding must not lose the last
    return [kind(text)]


def axis_values(p, opt, text, chosen, csv_mode):
    """The values of an axis, of its type. Raises what `confirm` and the type raise."""
    if opt.label == "Nothing":
        return [0]
    if opt.choices is not None and not csv_mode:
        entries = chosen
    else:
        entries = opt.prepare(text) if opt.prepare is not None else csv_string_to_list_strip(text)
    if opt.type in (int, float):
        values = [
            value for entry in entries if str(entry).strip() for value in _numbers(str(entry), opt.type)
        ]
    elif opt.type is str_permutations:
        values = list(itertools.permutations(entries))
    else:
        values = [opt.type(entry) for entry in entries]
    if not values:
        raise ValueError(f"X/Y/Z plot: the axis '{opt.label}' has no values.")
    if opt.confirm:
        opt.confirm(p, values)
    return values


class _Plot:
    """The pictures of every combination of the values of three axes, and the grids of them."""

    def __init__(self, p, axes, vary_seeds):
        self.p = p
        self.axes = axes
        self.vary_seeds = vary_seeds
        self.lengths = [len(axis.values) for axis in axes]
        self.cells = {}
        self.failed = None

    def draw(self):
        """Pictures in an order in which dear axes change least; after an interrupt the rest stays undrawn."""
        state.job_count = int(np.prod(self.lengths)) * self.p.n_iter
        order = sorted(range(3), key=lambda axis: -self.axes[axis].axis.cost)
        for places in itertools.product(*(range(self.lengths[axis]) for axis in order)):
            if state.interrupted or state.stopping_generation:
                break
            place = tuple(places[order.index(axis)] for axis in range(3))
            state.job = f"{len(self.cells) + 1} out of {int(np.prod(self.lengths))}"
            self.cells[place] = self._cell(place)

    def _cell(self, place):
        """(Processed, the processing object) of one combination; an error is kept, and leaves the cell empty."""
        pc = copy(self.p)
        pc.styles = list(pc.styles)
        pc.override_settings = dict(pc.override_settings)
        pc.extra_generation_params = dict(pc.extra_generation_params)
        try:
            for axis, number in zip(self.axes, place):
                axis.axis.apply(pc, axis.values[number], axis.values)
            stride = 1
            for length, number, varied in zip(self.lengths, place, self.vary_seeds):
                if varied:
                    pc.seed += number * stride
                    stride *= length
            return process_images(pc), pc
        except Exception as error:
            errors.display(error, "drawing a picture of the plot")
            self.failed = self.failed or error
            return Processed(self.p, [], self.p.seed, ""), pc

    def label(self, axis):
        info = self.axes[axis].axis
        return [str(info.format_value(self.p, info, value)) for value in self.axes[axis].values]

    def picture(self, place, size):
        """A picture, black where none could be drawn."""
        from PIL import Image

        processed = self.cells.get(place, (None, None))[0]
        return processed.images[0] if processed and processed.images else Image.new("RGB", size)

    def grid(self, z, draw_legend, margin):
        drawn = [cell[0].images[0] for cell in self.cells.values() if cell[0].images]
        size = max(image.width for image in drawn), max(image.height for image in drawn)
        places = [(x, y, z) for y in range(self.lengths[1]) for x in range(self.lengths[0])]
        grid = images.image_grid([self.picture(place, size) for place in places], rows=self.lengths[1])
        if not draw_legend:
            return grid
        over, beside = ([[images.GridAnnotation(text)] for text in self.label(axis)] for axis in (0, 1))
        cell = grid.width // self.lengths[0], grid.height // self.lengths[1]
        return images.draw_grid_annotations(grid, *cell, over, beside, margin)

    def whole(self, grids, draw_legend):
        """The grids of all z values in a row."""
        if len(grids) == 1:
            return grids[0]
        row = images.image_grid(grids, rows=1)
        if not draw_legend:
            return row
        titles = [[images.GridAnnotation(text)] for text in self.label(2)]
        return images.draw_grid_annotations(
            row, row.width // len(grids), row.height, titles, [[images.GridAnnotation()]]
        )


class Script(scripts.Script):
    def title(self):
        return "X/Y/Z plot"

    def ui(self, is_img2img):
        self.current_axis_options = [
            option for option in axis_options if getattr(option, "is_img2img", is_img2img) == is_img2img
        ]
        self.infotext_fields = []
        axes = [self._axis(name, start) for name, start in (("X", 1), ("Y", 0), ("Z", 0))]
        with gr.Row(variant="compact"):
            draw_legend = self._checkbox("Draw legend", "draw_legend", value=True)
            lone_images = self._checkbox("Include Sub Images", "include_lone_images")
            sub_grids = self._checkbox("Include Sub Grids", "include_sub_grids")
        with gr.Row(variant="compact"):
            no_fixed_seeds = self._checkbox("Keep -1 for seeds", "no_fixed_seeds")
            varied = [
                self._checkbox(f"Vary seeds for {name.upper()}", f"vary_seeds_{name}") for name in "xyz"
            ]
            csv_mode = self._checkbox("Use text inputs instead of dropdowns", "csv_mode")
        margin_size = gr.Slider(
            0, 500, step=2, value=0, label="Grid margins (px)", elem_id=self.elem_id("margin_size")
        )
        for kind, values, dropdown, fill in axes:
            self._connect_axis(kind, values, dropdown, fill, csv_mode)
        controls = [component for axis in axes for component in axis[:3]]
        return [
            *controls,
            draw_legend,
            lone_images,
            sub_grids,
            no_fixed_seeds,
            *varied,
            margin_size,
            csv_mode,
        ]

    def _checkbox(self, label, name, value=False):
        return gr.Checkbox(label=label, value=value, min_width=80, elem_id=self.elem_id(name))

    def _axis(self, name, start):
        """What the axis changes, its values as text and as choices, and a button that fills in all."""
        labels = [option.label for option in self.current_axis_options]
        low = name.lower()
        with gr.Row():
            kind = gr.Dropdown(
                labels,
                value=labels[start],
                type="index",
                label=f"{name} type",
                elem_id=self.elem_id(f"{low}_type"),
            )
            values = gr.Textbox(label=f"{name} values", lines=1, elem_id=self.elem_id(f"{low}_values"))
            dropdown = gr.Dropdown(
                label=f"{name} values",
                visible=False,
                multiselect=True,
                elem_id=self.elem_id(f"{low}_choices"),
            )
            fill = ToolButton(fill_values_symbol, elem_id=f"xyz_grid_fill_{low}_tool_button", visible=False)
        self.infotext_fields += [
            (kind, f"{name} Type"),
            (values, f"{name} Values"),
            (
                dropdown,
                lambda params: gr.update(value=csv_string_to_list_strip(params.get(f"{name} Values", ""))),
            ),
        ]
        return kind, values, dropdown, fill

    def _connect_axis(self, kind, values, dropdown, fill, csv_mode):
        def choices_of(number):
            option = self.current_axis_options[number or 0]
            return None if option.choices is None else option.choices()

        def select(number, in_text, text, chosen):
            """Text or choices, whichever the axis has; what fits of the old values is kept."""
            choices = choices_of(number)
            as_choices = choices is not None and not in_text
            if as_choices and text:
                chosen, text = [x for x in csv_string_to_list_strip(text) if x in choices], ""
            elif choices is not None and in_text and chosen:
                text, chosen = list_to_csv_string([x for x in chosen if x in choices]), []
            return (
                gr.update(visible=choices is not None),
                gr.update(visible=not as_choices, value=text),
                gr.update(choices=choices or [], visible=as_choices, value=chosen),
            )

        def fill_in(number, in_text):
            choices = choices_of(number) or []
            return (list_to_csv_string(choices), gr.update()) if in_text else (gr.update(), choices)

        inputs, outputs = [kind, csv_mode, values, dropdown], [fill, values, dropdown]
        kind.change(select, inputs, outputs, show_progress=False)
        csv_mode.change(select, inputs, outputs, show_progress=False)
        fill.click(fill_in, [kind, csv_mode], [values, dropdown], show_progress=False)

    def run(
        self, p, x_type, x_values, x_values_dropdown, y_type, y_values, y_values_dropdown, z_type, z_values,
        z_values_dropdown, draw_legend, include_lone_images, include_sub_grids, no_fixed_seeds, vary_seeds_x,
        vary_seeds_y, vary_seeds_z, margin_size, csv_mode,
    ):  # fmt: skip
        if not no_fixed_seeds:
            processing.fix_seed(p)
        if not opts.return_grid:
            p.batch_size = 1
        axes, texts = [], []
        for number, text, chosen in (
            (x_type, x_values, x_values_dropdown),
            (y_type, y_values, y_values_dropdown),
            (z_type, z_values, z_values_dropdown),
        ):
            option = self.current_axis_options[number or 0]
            values = axis_values(p, option, text, chosen, csv_mode)
            if not no_fixed_seeds and option.label in SEED_AXES:
                values = [random.randrange(SEED_LIMIT) if value == -1 else value for value in values]
            axes.append(AxisInfo(option, values))
            texts.append(list_to_csv_string(chosen) if option.choices is not None and not csv_mode else text)
        plot = _Plot(p, axes, (vary_seeds_x, vary_seeds_y, vary_seeds_z))
        _check_size(p, plot)
        shared.total_tqdm.updateTotal(_total_steps(p, axes))
        state.xyz_plot_x, state.xyz_plot_y, state.xyz_plot_z = axes
        try:
            plot.draw()
        finally:
            sd_models.reload_model_weights()
        return self._processed(plot, texts, draw_legend, include_lone_images, include_sub_grids, margin_size)

    def _processed(self, plot, texts, draw_legend, lone_images, sub_grids, margin):
        """Grids first, then the pictures, each with its text."""
        drawn = {
            place: cell for place, cell in sorted(plot.cells.items(), key=_reading_order) if cell[0].images
        }
        if not drawn:
            if plot.failed is not None:
                raise plot.failed  # nothing could be drawn: the user must see why
            return Processed(plot.p, [], plot.p.seed, "")
        grids = [plot.grid(z, draw_legend, margin) for z in range(plot.lengths[2])]
        result = copy(next(iter(drawn.values()))[0])
        texts_of = [_infotext(self.title(), plot, cell[1], texts) for cell in drawn.values()]
        result.images, result.infotexts = [plot.whole(grids, draw_legend)], [texts_of[0]]
        result.index_of_first_image = 1
        if sub_grids and len(grids) > 1:
            result.images += grids
            result.infotexts += [texts_of[0]] * len(grids)
        if lone_images:
            result.images += [cell[0].images[0] for cell in drawn.values()]
            result.infotexts += [cell[0].infotexts[0] for cell in drawn.values()]
        result.all_prompts = [cell[0].prompt for cell in drawn.values()]
        result.all_seeds = [cell[0].seed for cell in drawn.values()]
        result.info = texts_of[0]
        if opts.enable_pnginfo:
            for image, text in zip(result.images, result.infotexts):
                image.info["parameters"] = text
        if opts.grid_save and not plot.p.do_not_save_grid:
            images.save_image(
                result.images[0],
                plot.p.outpath_grids,
                "xyz_grid",
                info=texts_of[0],
                extension=opts.grid_format,
                prompt=result.prompt,
                seed=result.seed,
                grid=True,
                p=plot.p,
            )
        return result


def _reading_order(item):
    (x, y, z), _ = item
    return z, y, x


def _infotext(title, plot, pc, texts):
    """The text of a grid: that of a picture, and what the axes were."""
    extra = {"Script": title}
    for name, axis, text in zip("XYZ", plot.axes, texts):
        if axis.axis.label != "Nothing":
            extra[f"{name} Type"], extra[f"{name} Values"] = axis.axis.label, text
            if axis.axis.label in SEED_AXES:
                extra[f"Fixed {name} Values"] = ", ".join(str(value) for value in axis.values)
    pc.extra_generation_params = {**pc.extra_generation_params, **extra}
    return processing.create_infotext(pc, pc.all_prompts, pc.all_seeds, pc.all_subseeds)


def _check_size(p, plot):
    """Raises ValueError for a grid that is larger than the settings allow."""
    megapixels = round(int(np.prod(plot.lengths)) * p.width * p.height / 1e6)
    if megapixels >= opts.img_max_size_mp:
        raise ValueError(
            f"X/Y/Z plot: the grid would have {megapixels} megapixels; allowed is less than {opts.img_max_size_mp}."
        )


def _total_steps(p, axes):
    """Steps of all pictures, for the progress bar."""
    count = int(np.prod([len(axis.values) for axis in axes]))

    def summed(label, steps):
        for axis in axes:
            if axis.axis.label == label:
                return sum(axis.values) * count // len(axis.values)
        return steps * count

    total = summed("Steps", p.steps)
    if isinstance(p, StableDiffusionProcessingTxt2Img) and p.enable_hr:
        total += summed("Hires steps", p.hr_second_pass_steps) or total
    return total * p.n_iter
