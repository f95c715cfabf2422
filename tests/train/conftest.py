"""What several test modules of training take."""

import pytest

from ..support.hub_modules import tf2_module


@pytest.fixture(scope="session")
def modules(tmp_path_factory):
    """Each kind of module, made when it is first asked for."""
    folder, paths = tmp_path_factory.mktemp("modules"), {}

    def get(name, maker=tf2_module, **options):
        if name not in paths:
            paths[name] = maker(folder / name, **options)
        return paths[name]

    return get
