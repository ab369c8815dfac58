"""The API by its resources."""
