"""``python -m tlcore`` is the ``tlcore`` command."""

from tlcore.cli import app

if __name__ == "__main__":
    app()
