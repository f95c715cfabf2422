"""From a recipe's data table to checked, split, decoded and resized arrays. Needs numpy and Pillow, no framework.

`fingerprint` is the look before anything starts; `prepare` does the work. The rooms behind them: `sources` (the
table of schemes), `files`, `idx` and `catalogs` (what each scheme offers), `splits` (who goes where), `decode`
(one image), `arrays` (the files written), `check` (what was found wrong), `preparing` (the pass itself).
"""

from .preparing import fingerprint, prepare

__all__ = ["fingerprint", "prepare"]
