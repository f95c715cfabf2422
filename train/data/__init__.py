"""From a recipe's data table to checked, split samples: pictures or texts. Needs numpy and Pillow, no framework.

`kind_of` says which of the two they are; `fingerprint` is the look before anything starts; `prepare` and
`prepare_texts` do the work. The rooms behind them: `sources` (the table of schemes), `files`, `idx`, `catalogs`,
`tables` and `packages` (what each scheme offers), `rows` (one row of a table), `splits` (who goes where), `decode` and
`decode_text` (one sample), `images` and `texts` (the pass over all), `arrays` (the files written), `check` (what was
found wrong), `preparing` (the whole).
"""

from .check import UNREADABLE
from .preparing import fingerprint, prepare, prepare_texts
from .sources import check_source, kind_of

__all__ = ["UNREADABLE", "check_source", "fingerprint", "kind_of", "prepare", "prepare_texts"]
