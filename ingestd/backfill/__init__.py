"""Reading what already lies in a bucket: a listing in the place of a queue, everything behind it as in the daemon."""
