"""X/Y/Z plot: one picture for every combination of up to three settings' values, on labelled grids.

Other extensions find this module in `scripts.scripts_data` and append to `axis_options`. Of the real one's own axes
only a few are here.
"""

import csv
import itertools
import math
import random
from copy import copy

import gradio as gr
from PIL import Image, ImageDraw

from modules import errors, images, processing, scripts, sd_models, sd_samplers, sd_schedulers
from modules.processing import Processed, process_images
from modules.shared import opts, state

SEED_LIMIT = 4294967294
LINE = 14
"""Pixels that a line of the legend is high."""


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


def confirm_samplers(p, xs):
    unknown = [name for name in xs if name.lower() not in sd_samplers.samplers_map]
    if unknown:
        raise RuntimeError(f"X/Y/Z plot: there is no sampler '{unknown[0]}'.")


def format_value_add_label(p, opt, x):
    return f"{opt.label}: {round(x, 8) if isinstance(x, float) else x}"


def do_nothing(p, x, xs):
    """Of the axis that is none."""


def format_nothing(p, opt, x):
    return ""


def csv_string_to_list_strip(data_str):
    rows = csv.reader([data_str], skipinitialspace=True)
    return [entry.strip() for entry in itertools.chain.from_iterable(rows)]


class AxisOption:
    """What an axis can change: `apply(p, x, xs)` sets the value x, one of xs, of the given type.

    `format_value(p, axis, x)` labels it, `confirm(p, xs)` raises for values that cannot be, `prepare(text)` splits what
    is written, `choices()` lists all values.
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
        self.prepare = prepare or csv_string_to_list_strip
        self.choices = choices


axis_options = [
    AxisOption("Nothing", str, do_nothing, format_value=format_nothing),
    AxisOption("Seed", int, apply_field("seed")),
    AxisOption("Steps", int, apply_field("steps")),
    AxisOption("CFG Scale", float, apply_field("cfg_scale")),
    AxisOption("Prompt S/R", str, apply_prompt),
    AxisOption(
        "Sampler",
        str,
        apply_field("sampler_name"),
        confirm=confirm_samplers,
        choices=sd_samplers.visible_sampler_names,
    ),
    AxisOption(
        "Schedule type",
        str,
        apply_field("scheduler"),
        choices=lambda: [scheduler.label for scheduler in sd_schedulers.schedulers],
    ),
    AxisOption("Denoising", float, apply_field("denoising_strength")),
]


def axis_of(chosen):
    """The option of a number in the list or, as a control's start value has it, of a label. Raises ValueError."""
    for number, option in enumerate(axis_options):
        if chosen in (option.label, number) or (number == 0 and not chosen):
            return option
    raise ValueError(f"X/Y/Z plot: there is no axis {chosen!r:.100}.")


def axis_values(p, opt, text, chosen, csv_mode):
    """The values of an axis, of its type. Raises ValueError, and what `confirm` raises."""
    if opt.label == "Nothing":
        return [0]
    entries = chosen if opt.choices is not None and not csv_mode else opt.prepare(str(text))
    if not isinstance(entries, list):
        raise ValueError(f"X/Y/Z plot: the choices of '{opt.label}' are {entries!r:.100}; allowed is a list.")
    try:
        values = [opt.type(entry) for entry in entries]
    except (ValueError, OverflowError) as error:
        raise ValueError(f"X/Y/Z plot: '{opt.label}' takes numbers, not {text!r:.100}.") from error
    if not values:
        raise ValueError(f"X/Y/Z plot: the axis '{opt.label}' has no values.")
    if opt.confirm:
        opt.confirm(p, values)
    return values


def draw_cell(p, axes, place, vary_seeds):
    """(Processed, the processing object, the error or None) of one combination; `place` numbers the axes' values."""
    pc = copy(p)
    pc.styles, pc.override_settings = list(pc.styles), dict(pc.override_settings)
    pc.extra_generation_params = dict(pc.extra_generation_params)
    try:
        stride = 1
        for (option, values), number, varied in zip(axes, place, vary_seeds):
            option.apply(pc, values[number], values)
            if varied:
                pc.seed += number * stride
                stride *= len(values)
        return process_images(pc), pc, None
    except Exception as error:
        errors.display(error, "drawing a picture of the plot")
        return Processed(p, [], p.seed, ""), pc, error


def labelled(image, lines):
    """The picture under these lines of text."""
    lines = [line for line in lines if line]
    result = Image.new("RGB", (image.width, image.height + LINE * len(lines)), opts.grid_background_color)
    ImageDraw.Draw(result).multiline_text((2, 0), "\n".join(lines), fill="black", spacing=2)
    result.paste(image, (0, LINE * len(lines)))
    return result


def _framed(p, axes, cells, draw_legend, margin):
    """{(x, y, z): the picture with its legend and margin}; black where none could be drawn."""
    drawn = {place: cell[0].images[0] for place, cell in cells.items() if cell[0].images}
    size = max(image.width for image in drawn.values()), max(image.height for image in drawn.values())
    framed = {}
    for place in itertools.product(*(range(len(values)) for _, values in axes)):
        image = drawn.get(place) or Image.new("RGB", size)
        lines = [str(opt.format_value(p, opt, xs[n])) for (opt, xs), n in zip(axes, place)]
        image = labelled(image, lines) if draw_legend else image
        framed[place] = image.crop((0, 0, image.width + margin, image.height + margin)) if margin else image
    return framed


def _check_size(p, axes):
    """Raises ValueError for a grid that is larger than the settings allow."""
    megapixels = math.prod(len(values) for _, values in axes) * p.width * p.height / 1e6
    if megapixels >= opts.img_max_size_mp:
        raise ValueError(
            f"X/Y/Z plot: the grid would have {megapixels:.0f} megapixels; allowed is less than {opts.img_max_size_mp}."
        )


class Script(scripts.Script):
    def title(self):
        return "X/Y/Z plot"

    def ui(self, is_img2img):
        axes = [self._axis(name, start) for name, start in (("X", 1), ("Y", 0), ("Z", 0))]
        switches = {
            "draw_legend": "Draw legend",
            "include_lone_images": "Include Sub Images",
            "include_sub_grids": "Include Sub Grids",
            "no_fixed_seeds": "Keep -1 for seeds",
            **{f"vary_seeds_{name}": f"Vary seeds for {name.upper()}" for name in "xyz"},
        }
        with gr.Row(variant="compact"):
            boxes = [self._checkbox(label, name) for name, label in switches.items()]
            csv_mode = self._checkbox("Use text inputs instead of dropdowns", "csv_mode")
        margin_size = gr.Slider(
            0, 500, step=2, value=0, label="Grid margins (px)", elem_id=self.elem_id("margin_size")
        )
        for kind, values, dropdown in axes:
            for changed in (kind, csv_mode):
                changed.change(_shown, [kind, csv_mode], [values, dropdown], show_progress=False)
        return [*itertools.chain.from_iterable(axes), *boxes, margin_size, csv_mode]

    def _checkbox(self, label, name):
        return gr.Checkbox(label=label, value=name == "draw_legend", min_width=80, elem_id=self.elem_id(name))

    def _axis(self, name, start):
        """What the axis changes, and its values as text and as choices."""
        labels, low = [option.label for option in axis_options], name.lower()
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
        return kind, values, dropdown

    def run(
        self, p, x_type, x_values, x_values_dropdown, y_type, y_values, y_values_dropdown, z_type, z_values,
        z_values_dropdown, draw_legend, include_lone_images, include_sub_grids, no_fixed_seeds, vary_seeds_x,
        vary_seeds_y, vary_seeds_z, margin_size, csv_mode,
    ):  # fmt: skip
        if not no_fixed_seeds:
            processing.fix_seed(p)
        axes = []
        for number, text, chosen in (
            (x_type, x_values, x_values_dropdown),
            (y_type, y_values, y_values_dropdown),
            (z_type, z_values, z_values_dropdown),
        ):
            option = axis_of(number)
            values = axis_values(p, option, text, chosen, csv_mode)
            if not no_fixed_seeds and option.label == "Seed":
                values = [random.randrange(SEED_LIMIT) if value == -1 else value for value in values]
            axes.append((option, values))
        _check_size(p, axes)
        cells = self._draw(p, axes, (vary_seeds_x, vary_seeds_y, vary_seeds_z))
        return self._processed(
            p, axes, cells, draw_legend, include_lone_images, include_sub_grids, margin_size
        )

    def _draw(self, p, axes, vary_seeds):
        """{(x, y, z): what `draw_cell` gives} in reading order; after an interrupt the rest is left out."""
        lengths = [len(values) for _, values in axes]
        cells = {}
        state.job_count = math.prod(lengths) * p.n_iter
        try:
            for z, y, x in itertools.product(*map(range, reversed(lengths))):
                if state.interrupted or state.stopping_generation:
                    break
                cells[x, y, z] = draw_cell(p, axes, (x, y, z), vary_seeds)
        finally:
            sd_models.reload_model_weights()
        return cells

    def _processed(self, p, axes, cells, draw_legend, lone_images, sub_grids, margin):
        """The grid of all first, then those of each Z, then the pictures, each with its text."""
        drawn = [cell[0] for cell in cells.values() if cell[0].images]
        failed = [error for _, _, error in cells.values() if error]
        if failed and not drawn:
            raise failed[0]  # nothing could be drawn: the user must see why
        if not drawn:
            return Processed(p, [], p.seed, "")
        columns, rows, layers = (range(len(values)) for _, values in axes)
        framed = _framed(p, axes, cells, draw_legend, margin)
        grids = [
            images.image_grid([framed[x, y, z] for y in rows for x in columns], rows=len(rows))
            for z in layers
        ]
        whole = images.image_grid(grids, rows=1) if len(grids) > 1 else grids[0]
        pictures, texts = [whole], [self._infotext(cells, axes)]
        if sub_grids and len(grids) > 1:
            pictures, texts = pictures + grids, texts + texts * len(grids)
        if lone_images:
            pictures += [one.images[0] for one in drawn]
            texts += [one.infotexts[0] for one in drawn]
        for image, text in zip(pictures, texts):
            image.info["parameters"] = text
        result = copy(drawn[0])
        result.images, result.infotexts, result.info = pictures, texts, texts[0]
        result.index_of_first_image = 1
        return result

    def _infotext(self, cells, axes):
        """The text of the grid: that of a picture, and what the axes were."""
        pc = next(pc for processed, pc, _ in cells.values() if processed.images)
        extra = {"Script": self.title()}
        for name, (option, values) in zip("XYZ", axes):
            if option.label != "Nothing":
                extra[f"{name} Type"], extra[f"{name} Values"] = option.label, ", ".join(map(str, values))
        pc.extra_generation_params = {**pc.extra_generation_params, **extra}
        return processing.create_infotext(pc, pc.all_prompts, pc.all_seeds, pc.all_subseeds)


def _shown(number, csv_mode):
    """Text or choices, whichever the axis has."""
    choices = axis_of(number).choices
    as_choices = choices is not None and not csv_mode
    return gr.update(visible=not as_choices), gr.update(
        visible=as_choices, choices=choices() if as_choices else [], value=[]
    )
