"""All tests in two lanes side by side: while the one waits for containers, the other has work for the processors.

`python -m tests.lanes` plays both; `python -m pytest PATH` is one process as ever. What meets the container engine
shares it with all else that does, and stays in one lane, one test after the other.
"""
