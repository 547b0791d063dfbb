"""Retrieval systems: one small file each on shared parts, and the tables that configs choose from."""

from tpr.systems.base import System
from tpr.systems.loading import build_system, load_system, load_weights, read_experiment_of
from tpr.systems.tables import MODELS, SYSTEMS, TABLES

__all__ = [
    "MODELS",
    "SYSTEMS",
    "TABLES",
    "System",
    "build_system",
    "load_system",
    "load_weights",
    "read_experiment_of",
]
