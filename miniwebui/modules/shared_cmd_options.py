"""The command line, read once; extensions add their flags first."""

from modules import extensions
from modules.cmd_args import parser

extensions.list_extensions(extensions.requested(extensions.command_line()))
extensions.preload(parser)
cmd_opts, _ = parser.parse_known_args(extensions.command_line())
