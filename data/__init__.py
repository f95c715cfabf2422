"""Turns a recipe's data table into checked, split samples: images or texts. Needs numpy and Pillow, no framework.

`kind_of` says whether a source holds images or texts. `check_trainable` checks a source before a recipe is written,
`fingerprint` before a run starts. `prepare` and `prepare_texts` do the work.

Modules: `sources` (the table of schemes), `files`, `idx`, `catalogs`, `tables` and `packages` (the schemes), `rows`
(one row of a table), `splits` (split assignment), `decode_text` and `core.decode` (one sample), `images` and `texts`
(the pass over all samples), `arrays` (writing), `check` (the data check), `precheck` (can training start?), `preparing`
(all of it). `number_tables` reads tables of numbers.
"""

from .check import UNREADABLE
from .precheck import check_trainable
from .preparing import fingerprint, prepare, prepare_texts
from .sources import kind_of

__all__ = ["UNREADABLE", "check_trainable", "fingerprint", "kind_of", "prepare", "prepare_texts"]
