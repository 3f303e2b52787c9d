"""The tests that detections carry: running them, and proving routing right with their samples."""
