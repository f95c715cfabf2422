"""Plan the splits, pass over the data once, judge what is left: the same for images and texts.

Splits are read in the order test, validation, train: so the same sample met again is always the one to drop, and
one pass is enough.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..core.codec import sha256_of
from ..core.dataset import SPLITS, PreparedData, save_prepared
from ..core.errors import InputError, explain_disk_errors
from ..core.progress import Listener
from ..core.recipe import Data
from ..core.sanitize import shorten
from ..core.store import package_versions
from .check import Check, Sample, Traits, missing_classes, name_classes, write_unreadable
from .decode import Decoded
from .decode_text import DecodedText, check_encoding
from .images import ImageTraits, image_pass
from .listing import TEST, TRAIN, Listing, SampleKind, count, with_test
from .sources import kind_of, open_source
from .splits import Assignment, assign, gather
from .texts import TextTraits, text_pass

# What this room writes for the same data and settings; raise it when that changes, so that caches notice.
FORMAT = 2
# With data.on_unreadable = "stop": how many are named before the pass ends.
NAMED = 5

Use = Literal["all", "train", "test"]
S = TypeVar("S", bound=Sample)


def fingerprint(data: Data, *, seed: int, folder: Path, use: Use = "all") -> dict[str, Any]:
    """Return, cheaply and JSON-able, what the prepared data depend on, but for `use`: the key of a cache.

    Of files it holds names, sizes and times; of tables, shipped sets and what packages carry hashes; of catalogues
    name and version. `folder` is where the recipe stands. Raises InputError when a source is not there, cannot be one
    (unknown scheme, rows that are wrong), cannot be split (where looking at it shows its labels) or needs a package
    that is not installed.
    """
    kind = kind_of(data, folder)
    if kind == "text":
        check_encoding(data.encoding)
    classes = use == "all"
    looks = {"source": open_source(data.source, data, folder, kind, classes=classes).look()}
    if data.test_source:
        looks["test_source"] = open_source(data.test_source, data, folder, kind, classes=classes).look()
    listings = [look.listing for look in looks.values() if look.listing is not None]
    if classes and len(listings) == len(looks):
        assign(with_test(*listings) if data.test_source else listings[0], data, seed=seed)
    return {
        "format": FORMAT,
        "kind": kind,
        "settings": data.model_dump(mode="json"),
        "seed": seed,
        "sources": {name: look.identity for name, look in looks.items()},
        # Copies of texts are told by Unicode's normal form, which new versions of Unicode extend.
        "packages": package_versions(["pillow"]) if kind == "image" else {"unicode": unicodedata.unidata_version},
    }


def prepare(
    data: Data,
    *,
    seed: int,
    image_size: int,
    resize: str,
    folder: Path,
    workspace: Path,
    listener: Listener,
    workers: int,
    use: Use = "all",
) -> PreparedData:
    """Split, check, decode and resize the images of `data` into ``.npy`` files and ``data.json`` in `workspace`.

    Images beyond data.limit_train and data.limit_test are not opened, and so not checked. Every image is decoded
    once, at full size: an image of max_pixels takes 0.5 GB while it is at work, in each of the threads.
    Images of a split keep the source's order (sorted by name for files): whoever trains shuffles. `workers` is the
    number of decoding threads. With `use` other than ``all`` everything goes into that one split (see
    `splits.gather`): test images for finished files, or training images to calibrate with; neither needs classes, nor
    samples of each class. The same input gives the same bytes, also when a former attempt was cut off.

    Raises InputError when the data cannot be used (see `splits.assign`; or nothing readable, or unreadable files
    with ``on_unreadable = "stop"``), StageError when the disk is too small or cannot be written.
    """
    listing = _listing(data, folder, "image", use)

    def one_pass(check: Check[Decoded], plan: Assignment) -> dict[str, str]:
        return image_pass(
            check, plan, size=image_size, resize=resize, max_pixels=data.max_pixels, workspace=workspace,
            listener=listener, workers=workers, enough=lambda: _stop_at(check, data, NAMED),
        )  # fmt: skip

    def traits() -> ImageTraits:
        return ImageTraits(image_size, resize)

    digests, report = _settle(listing, data, seed, use, workspace, listener, traits, one_pass)
    return _saved(
        PreparedData(
            folder=workspace,
            source=data.source,
            labels=listing.labels,
            height=image_size,
            width=image_size,
            resize=resize,
            counts=report["kept"],
            sha256=sha256_of(digests),
            report=report,
        )
    )


def prepare_texts(
    data: Data, *, seed: int, folder: Path, workspace: Path, listener: Listener, use: Use = "all"
) -> PreparedData:
    """Split and check the texts of `data`; write ``SPLIT.jsonl``, labels and ``data.json`` into `workspace`.

    Texts are written as they were read: decoded by data.encoding, without a byte order mark, else unchanged. Every
    text stands once: one that is the same as another (see `decode_text`) stays in test, else in validation, else in
    training. Order, `use`, limits and errors are as in `prepare`. At most one text is in memory at a time, and a
    digest and a few numbers of each.
    """
    check_encoding(data.encoding)
    listing = _listing(data, folder, "text", use)

    def one_pass(check: Check[DecodedText], plan: Assignment) -> dict[str, str]:
        return text_pass(
            check, plan, encoding=data.encoding, max_characters=data.max_characters, workspace=workspace,
            listener=listener, enough=lambda: _stop_at(check, data, NAMED),
        )  # fmt: skip

    def traits() -> TextTraits:
        return TextTraits(data.encoding)

    digests, report = _settle(listing, data, seed, use, workspace, listener, traits, one_pass)
    return _saved(
        PreparedData(
            folder=workspace,
            source=data.source,
            labels=listing.labels,
            height=0,
            width=0,
            resize="",
            counts=report["kept"],
            sha256=sha256_of(digests),
            report=report,
            kind="text",
        )
    )


def _listing(data: Data, folder: Path, kind: SampleKind, use: Use) -> Listing:
    """Return what data.source and data.test_source offer. Raises InputError, also for what must stop the run."""
    classes = use == "all"
    listing = open_source(data.source, data, folder, kind, classes=classes).listing()
    if data.test_source:
        listing = with_test(listing, open_source(data.test_source, data, folder, kind, classes=classes).listing())
    if listing.refused and data.on_unreadable == "stop":
        _stop(kind, [(refusal.name, refusal.why) for refusal in listing.refused])
    return listing


def _settle(
    listing: Listing,
    data: Data,
    seed: int,
    use: Use,
    workspace: Path,
    listener: Listener,
    traits: Callable[[], Traits[S]],
    one_pass: Callable[[Check[S], Assignment], dict[str, str]],
) -> tuple[dict[str, str], dict[str, Any]]:
    """Pass over the data, again where that lost a class of some split. Returns the files' hashes and the report."""
    spoilt: dict[int, str] = {}
    while True:
        try:
            if use == "all":
                plan = assign(listing, data, seed=seed, without=spoilt)
            else:
                plan = gather(listing, data, seed=seed, into=SPLITS.index(use), without=spoilt)
        except InputError as error:
            raise InputError(error.message + _examples(listing, spoilt), error.remedy) from error
        planned = [Counter(listing.targets[split].tolist()) for split in plan.splits]
        check = Check(listing, spoilt, traits())
        with explain_disk_errors(workspace):
            workspace.mkdir(parents=True, exist_ok=True)
            (workspace / "data.json").unlink(missing_ok=True)
            digests = one_pass(check, plan)
        _stop_at(check, data, 1)
        # What trains no more needs samples, not samples of each class.
        lost = missing_classes(check, planned) if use == "all" else []
        classes = {number for _, number in lost}
        if not any(listing.targets[index] in classes for index in set(check.unreadable) - set(spoilt)):
            break
        # Broken files took all that a class had in some split: split again without them. Rare, so worth a pass.
        spoilt = check.unreadable
        listener.note("info", f"splitting again without the unreadable {listing.kind}s", unreadable=len(spoilt))
    _judge(check, lost)
    report = check.report(plan)
    with explain_disk_errors(workspace):
        write_unreadable(check.left_out(plan), workspace)
    for warning in report["warnings"]:
        listener.note("warning", warning["what"], remedy=warning["remedy"])
    return digests, report


def _saved(prepared: PreparedData) -> PreparedData:
    with explain_disk_errors(prepared.folder):
        save_prepared(prepared, prepared.folder)
    return prepared


def _stop_at(check: Check[Any], data: Data, number: int) -> None:
    """With ``on_unreadable = "stop"``, raise InputError when that many or more are unreadable."""
    if data.on_unreadable == "stop" and len(check.unreadable) >= number:
        _stop(check.listing.kind, [(check.listing.names[i], why) for i, why in check.unreadable.items()])


def _stop(kind: SampleKind, unreadable: list[tuple[str, str]]) -> None:
    lines = [f"{shorten(name, 200)}: {why}" for name, why in unreadable[:NAMED]]
    raise InputError(
        f"unreadable {kind}s:\n  - " + "\n  - ".join(lines),
        'mend or remove them, or set data.on_unreadable = "drop" to go on without them',
    )


def _examples(listing: Listing, unreadable: Mapping[int, str]) -> str:
    """Return lines that name the first unreadable samples and why; nothing where there are none."""
    return "".join(f"\n  - {shorten(listing.names[i], 200)}: {why}" for i, why in list(unreadable.items())[:NAMED])


def _judge(check: Check[Any], lost: list[tuple[int, int]]) -> None:
    """Raise InputError when what is left cannot be trained on or tested with."""
    listing = check.listing
    noun = listing.kind
    shown = _examples(listing, check.unreadable)
    if not any(check.kept[split] for split in range(len(SPLITS))):
        raise InputError(f"none of {count(len(check.unreadable), noun)} could be read{shown}", "mend the files")
    for split, consequence in ((TRAIN, "nothing to learn from"), (TEST, "nothing to judge by")):
        classes = {number for code, number in lost if code == split}
        if classes:
            raise InputError(
                f"no {noun} is left in {SPLITS[split]} of {name_classes(listing, classes)}: {consequence}. "
                f"Unreadable {noun}s and copies of {noun}s in other splits are left out{shown}",
                f"add different, readable {noun}s of these classes, or take the classes out",
            )
