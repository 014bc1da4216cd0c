"""`<lora:name:weight>` in prompts."""

import math

import networks

from modules import extra_networks, sd_hijack, shared


def _finite(text) -> float:
    """Raises ValueError for what is no number that a layer could be multiplied with."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


class ExtraNetworkLora(extra_networks.ExtraNetwork):
    """`<lora:name:te:unet:dyn>`, the numbers also by name: `<lora:name:te=0.5:unet=1>`."""

    remove_symbols = str.maketrans("", "", ":,")

    def __init__(self):
        super().__init__("lora")
        self.errors: dict[str, int] = {}  # layers that did not fit, by network

    def activate(self, p, params_list):
        self.errors.clear()
        names, te_multipliers, unet_multipliers, dyn_dims = [], [], [], []
        for params in params_list:
            given = dict(enumerate(params.positional))
            try:
                te = _finite(params.named.get("te", given.get(1, 1.0)))
                unet = _finite(params.named.get("unet", given.get(2, te)))
                dyn = params.named.get("dyn", given.get(3))
                dyn_dims.append(None if dyn is None else int(dyn))
            except ValueError:
                mention = ":".join(map(str, params.items))
                sd_hijack.model_hijack.comments.append(f"<lora:{mention}> is left out: its numbers are none.")
                continue
            names.append(given[0])
            te_multipliers.append(te)
            unet_multipliers.append(unet)
        networks.load_networks(names, te_multipliers, unet_multipliers, dyn_dims)
        if shared.opts.lora_add_hashes_to_infotext:
            self._note_hashes(p)

    def _note_hashes(self, p) -> None:
        if not getattr(p, "is_hr_pass", False) or not hasattr(p, "lora_hashes"):
            p.lora_hashes = {}
        for net in networks.loaded_networks:
            p.lora_hashes[net.mentioned_name.translate(self.remove_symbols)] = net.network_on_disk.shorthash
        if p.lora_hashes:
            hashes = ", ".join(f"{name}: {value}" for name, value in p.lora_hashes.items())
            p.extra_generation_params["Lora hashes"] = hashes

    def deactivate(self, p):
        if self.errors:
            counts = ", ".join(f"{name} ({count})" for name, count in self.errors.items())
            p.comment(f"Networks with errors: {counts}")
            self.errors.clear()
