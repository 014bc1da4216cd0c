"""Conditions of a call, before rows are put together."""

from tests.forge_common import entries, weighted_entries


def compile_conditions(cond):
    return None if cond is None else entries(cond)


def compile_weighted_conditions(cond, weights):
    return weighted_entries(cond, weights)
