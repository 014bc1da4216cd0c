"""A UNet as scripts see it: options on an object that can be copied, around one model."""

import copy


class UnetPatcher:
    def __init__(self, model):
        self.model = model
        self.lora_patches = {}
        self.model_options = {"transformer_options": {}}
        self.controlnet_linked_list = None
        self.extra_concat_condition = None
        self.current_device = "cpu"

    def clone(self):
        """Options are copied deeply: only plain functions stay the same object."""
        new = UnetPatcher(self.model)
        new.lora_patches = dict(self.lora_patches)
        new.model_options = copy.deepcopy(self.model_options)
        new.controlnet_linked_list = self.controlnet_linked_list
        return new

    def memory_required(self, input_shape):
        return self.model.memory_required(input_shape)

    def refresh_loras(self):
        self.model.merged = list(self.lora_patches)

    def has_online_lora(self):
        return False
