"""Styles of human annotators: found in captions, taught to a captioning model, drawn per caption."""
