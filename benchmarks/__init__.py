"""What the node can do, as ratios and counts taken in one run."""
