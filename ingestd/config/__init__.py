"""Configuration: files, includes, `${ENV}`, secret references, models."""
