"""``python -m edgeproof`` is the ``edgeproof`` command."""

from .cli.main import main

if __name__ == "__main__":
    main()
