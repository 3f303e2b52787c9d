"""Detections, in the child: the public format of rules, and the engine that runs them."""
