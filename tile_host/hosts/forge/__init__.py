"""Stable Diffusion WebUI Forge, Forge Neo and reForge: a conditioning modifier puts our model in the place of the pass'
own. `engine.py` says what reForge calls by other names."""

from tile_host.hosts.family import job, pictures, stages
from tile_host.hosts.forge import controls, facts, vae, words
from tile_host.hosts.forge.engine import engine
from tile_host.hosts.forge.sampling import Sampling
from tile_host.hosts.protocol import Host

FORGE = Host(engine.NAME, facts, job, Sampling(), words, pictures, vae, controls, stages)
