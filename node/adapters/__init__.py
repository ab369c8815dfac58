"""One file per outside thing, named after the port that it implements."""
