"""Schemas, in the child: the public log-schema language, compiled; classification; built-in log types."""
