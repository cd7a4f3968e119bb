"""The broker: `core` decides, the shell around it moves bytes."""
