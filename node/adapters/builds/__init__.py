"""Builds of strangers' repositories: what is asked of git and of the engine, and what is made of their words."""
