"""A UNet as scripts see it: options on an object that can be copied, around one model."""

import copy
import uuid


class UnetPatcher:
    def __init__(self, model):
        self.model = model
        self.patches, self.patches_uuid = {}, uuid.uuid4()
        model.merged_uuid = self.patches_uuid
        self.model_options = {"transformer_options": {}}
        self.controlnet_linked_list = None
        self.extra_concat_condition = None

    def clone(self):
        """Options are copied deeply: only plain functions stay the same object."""
        new = copy.copy(self)
        new.patches, new.model_options = dict(self.patches), copy.deepcopy(self.model_options)
        return new

    def memory_required(self, input_shape):
        return self.model.memory_required(input_shape)

    def list_controlnets(self):
        found, net = [], self.controlnet_linked_list
        while net is not None:
            found.append(net)
            net = net.previous_controlnet
        return found
