"""The algorithms, as pure functions on tensors. Imports `tile_utils`, torch, numpy and the standard library only."""
