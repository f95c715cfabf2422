"""Starts the agent from its folder: ``python -I FOLDER -``."""

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

NAME = "edgeproof_agent"


def main() -> None:
    """Import this folder as a package, and start it.

    Python has put the folder first on its path, where its modules would be taken for packages of the same names.
    """
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != folder]
    start = os.path.join(folder, "__init__.py")
    spec: Any = spec_from_file_location(NAME, start, submodule_search_locations=[folder])
    sys.modules[NAME] = package = module_from_spec(spec)
    spec.loader.exec_module(package)
    from importlib import import_module

    import_module(NAME + ".main").main()


main()
