"""Histories of a whole stack under faults: the real decisions over a fake AWS, on a virtual clock."""
