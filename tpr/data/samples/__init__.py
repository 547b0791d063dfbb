"""Samples and batches: what is drawn, by whom, and how it reaches the training process."""
