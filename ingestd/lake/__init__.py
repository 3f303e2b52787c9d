"""The lake: batches, the commit protocol, layout and queries."""
