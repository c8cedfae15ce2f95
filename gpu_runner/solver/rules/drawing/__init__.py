"""Where an output has its input's shape: pictures of the whole input, drawn by a step or two (`steps`).

They are rules of their own, or what a tree chooses among (`rules`). `growing` is one tree, repeated until
nothing changes.
"""
