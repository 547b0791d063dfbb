"""Retrieval quality: exact metrics, embedding of splits, the tables' rows."""

from tpr.evaluation.metrics import Metrics, retrieval_metrics

__all__ = ["Metrics", "retrieval_metrics"]
