"""Rules of objects: each does what a tree over its traits says."""
