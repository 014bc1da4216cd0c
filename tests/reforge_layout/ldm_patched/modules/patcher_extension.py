"""By which our extension knows reForge."""
