"""Small rules learned from the demonstrations alone; see `reason`."""
