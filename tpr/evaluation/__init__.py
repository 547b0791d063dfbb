"""Retrieval quality: exact metrics, embedding of splits, the tables' rows."""

from tpr.evaluation.metrics import Metrics, retrieval_metrics
from tpr.evaluation.visible_infrared import visible_infrared_metrics

__all__ = ["Metrics", "retrieval_metrics", "visible_infrared_metrics"]
