"""Clouds: sessions and credentials shared by sources, stores, secrets and destinations."""
