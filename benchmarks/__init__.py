"""Performance claims, measured as ratios against a reference run side by side: `make bench`."""
