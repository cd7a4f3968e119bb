"""stub"""

import typer


def doctor(context: typer.Context) -> None:
    """Stub."""
