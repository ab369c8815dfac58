"""What is looked at before a machine is sold: versions against floors, the engine, the host, and real starts."""
