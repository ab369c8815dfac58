"""The parts of the swarm runtime: the profile, tasks, the view of them, machines, images, inspection."""
