"""From a recipe's data table to checked, split samples: pictures or texts. Needs numpy and Pillow, no framework.

`kind_of` says which of the two they are; `check_trainable` is the look before a recipe is written, `fingerprint` the
one before anything starts; `prepare` and
`prepare_texts` do the work. The rooms behind them: `sources` (the table of schemes), `files`, `idx`, `catalogs`,
`tables` and `packages` (what each scheme offers), `rows` (one row of a table), `splits` (who goes where), `decode` and
`decode_text` (one sample), `images` and `texts` (the pass over all), `arrays` (the files written), `check` (what was
found wrong), `first_look` (whether training could start), `preparing` (the whole).
"""

from .check import UNREADABLE
from .first_look import check_trainable
from .preparing import fingerprint, prepare, prepare_texts
from .sources import kind_of

__all__ = ["UNREADABLE", "check_trainable", "fingerprint", "kind_of", "prepare", "prepare_texts"]
