"""What a node answers, as values; fields that this version does not know are passed over.

Money is a Decimal in tokens where the node says it exactly, times have a zone.
"""
