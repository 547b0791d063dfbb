"""Configuration: YAML files to frozen, typed options, with messages that say where a value came from.

`reader` turns files and overrides into one raw tree, `typed` turns the tree into an `Experiment`,
`schema` declares the options every run has, `options` lists them with their sentences.
"""
