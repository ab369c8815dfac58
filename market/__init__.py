"""The rules of the market: pure functions of values. No I/O, no async, no clock, no randomness."""
