"""The drawn world: datasets drawn from a seed in the published layouts, so that all runs offline."""

from tpr.drawn.world import World, draw_world

__all__ = ["World", "draw_world"]
