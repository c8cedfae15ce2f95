"""Where an output has another shape: short programs over pieces of the input, searched best first (`search`).

They are rules of their own, or sheets that trees look at (`rules`).
"""
