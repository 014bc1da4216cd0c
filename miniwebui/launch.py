"""The name under which install.py finds the launch helpers."""

from modules.launch_utils import commit_hash, git_tag, is_installed, run_pip  # noqa: F401
