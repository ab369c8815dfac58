"""The crash harness: a real market on an engine of its own, killed part by part while it works, and its books after."""
