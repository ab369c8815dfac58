"""The kill harness: real nodes that are killed at random, and a world that outlives them and keeps count."""
