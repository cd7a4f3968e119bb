"""The configuration, and where things are on this host."""
