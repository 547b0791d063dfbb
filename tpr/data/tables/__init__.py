"""Tables of samples: parsing, cache, packing, checks."""
