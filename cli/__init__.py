"""The remote control: speaks HTTP to a node, or starts one."""
