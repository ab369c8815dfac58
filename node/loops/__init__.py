"""What happens by itself: one supervised coroutine per file."""
