"""LoRA files in prompts: the mini WebUI's part of the real one's built-in extension of this name."""

import extra_networks_lora
import networks
from fastapi import FastAPI

from modules import extra_networks, script_callbacks, shared
from modules.options import OptionInfo

shared.opts.add_option(
    "lora_add_hashes_to_infotext",
    OptionInfo(True, "Add Lora hashes to infotext", section=("extra_networks", "Extra Networks")),
)
networks.extra_network_lora = extra_networks_lora.ExtraNetworkLora()


def before_ui() -> None:
    extra_networks.register_extra_network(networks.extra_network_lora)
    extra_networks.register_extra_network_alias(networks.extra_network_lora, "lyco")


def api_networks(_demo, app: FastAPI) -> None:
    @app.get("/sdapi/v1/loras")
    def get_loras():
        return [
            {"name": found.name, "alias": found.alias, "path": found.filename, "metadata": found.metadata}
            for found in networks.available_networks.values()
        ]

    @app.post("/sdapi/v1/refresh-loras")
    def refresh_loras():
        networks.list_available_networks()


script_callbacks.on_before_ui(before_ui)
script_callbacks.on_app_started(api_networks)
networks.list_available_networks()
