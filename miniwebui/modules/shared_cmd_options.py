"""The command line, read once; extensions add their flags first."""

from modules import extensions
from modules.cmd_args import parser
from modules.paths_internal import command_line

command, *arguments = command_line() or [""]
known, _ = parser.parse_known_args(arguments)
extensions.list_extensions(known.extension)
if command == "page":  # drawing without a page goes by the defaults, whatever the page was told
    extensions.apply_settings(known.ui_settings_file)
extensions.preload(parser)
cmd_opts = parser.parse_args(arguments) if command == "page" else parser.parse_known_args(arguments)[0]
