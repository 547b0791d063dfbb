"""Images as pixels: reading, decoding, resizing, augmentation."""
