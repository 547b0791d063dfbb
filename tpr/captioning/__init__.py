"""Captions by models: plans, engines that write captions, filters, and the corpora that come out."""
