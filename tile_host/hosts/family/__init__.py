"""What the WebUI and its forks have in common: adapters take from here what their host does in the WebUI's way."""
