"""What a user or a peer can ask for: a file per noun, a function per verb."""
