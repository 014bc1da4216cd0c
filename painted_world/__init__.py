"""Paints the demo world, trains the demo checkpoint on it and measures it. The mini WebUI needs none of this."""
