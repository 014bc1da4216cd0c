def nested_move_to_device(obj, **_how):
    return obj
