"""Side A: the published IRRA recipe, written anew from its description, inefficiencies included.

Nothing here is made slower than published. Where a part of ours is used as a building block (open_clip's
word-piece merges) it is the faster of the two and the file says so.
"""
