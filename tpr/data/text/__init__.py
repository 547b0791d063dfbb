"""Captions as token ids: tokenizers, their cache, masking, augmentation."""
