"""The gateway: requests by host name go to services at providers, over streams of bytes; and ports in the open.

A request comes in through `listener`, `heads` judges it, `upstreams` finds a replica, `exchange` carries both ways.
"""
