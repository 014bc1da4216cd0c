"""The command line, read once; extensions add their flags first."""

from modules import extensions
from modules.cmd_args import parser
from modules.paths_internal import command_line

extensions.list_extensions(extensions.requested(command_line()))
extensions.preload(parser)
cmd_opts, _ = parser.parse_known_args(command_line())
