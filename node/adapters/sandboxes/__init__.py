"""Code in fresh sandboxes on Docker: languages as data, the agent inside, the pool, and how an end is judged."""
