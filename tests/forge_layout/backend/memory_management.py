"""Which models lie on the device, and how much is free there."""

current_loaded_models = []
free = float("inf")


def load_models_gpu(models, memory_required=0):
    for model in models:
        current_loaded_models.append((model, memory_required))


def get_free_memory(dev=None):
    return free
