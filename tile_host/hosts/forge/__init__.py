"""Stable Diffusion WebUI Forge: a conditioning modifier puts our model in the place of the pass' own."""

from tile_host.hosts.family import job, pictures, stages
from tile_host.hosts.forge import controls, facts, vae, words
from tile_host.hosts.forge.sampling import Sampling
from tile_host.hosts.protocol import Host

FORGE = Host("Forge", facts, job, Sampling(), words, pictures, vae, controls, stages)
