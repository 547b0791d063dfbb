"""Retrieval quality: exact ranks, protocols, embedding of splits, the tables' rows."""

from tpr.evaluation.query_results import Metrics
from tpr.evaluation.retrieval import retrieval_metrics, visible_infrared_metrics

__all__ = ["Metrics", "retrieval_metrics", "visible_infrared_metrics"]
