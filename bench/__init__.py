"""Measurements of what arcspot promises; `python -m bench --help`."""
