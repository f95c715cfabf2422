"""Plans the splits, passes over the data and checks the result: the same for images and texts.

Splits are read in the order test, validation, train. So the copy that is met later is the one to drop, and one pass is
enough.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..core.codec import sha256_of
from ..core.dataset import SPLITS, PreparedData, save_prepared
from ..core.decode import Decoded
from ..core.errors import InputError, explain_disk_errors
from ..core.helpers import Helpers
from ..core.picture_size import Size, sides
from ..core.progress import Listener
from ..core.recipe_data import Data
from ..core.sanitize import shorten
from ..core.store import package_versions
from . import text_targets
from .check import Check, Sample, Traits, class_names, missing_classes, write_unreadable
from .decode_text import DecodedText, check_encoding
from .images import ImageTraits, image_pass
from .listing import TEST, TRAIN, Listing, SampleKind, count, with_test
from .sources import kind_of, open_source
from .splits import Assignment, assign, assign_to_one
from .texts import TextTraits, text_pass

# Version of the prepared data. Raise it when the same data and settings give other files, so that caches are redone.
FORMAT = 2
# With data.on_unreadable = "stop": the number of unreadable samples that ends the pass.
NAMED = 5

Use = Literal["all", "train", "test"]
S = TypeVar("S", bound=Sample)


def fingerprint(data: Data, *, seed: int, folder: Path, use: Use = "all", task: str = "") -> dict[str, Any]:
    """Return what the prepared data depend on, except `use`: a cheap, JSON-able cache key.

    `task` is the recipe's, where texts may have other targets than classes (`text_targets`).
    It holds names, sizes and times of files; hashes of tables, built-in sets and package contents; name and version of
    catalogues. `folder` is the recipe's folder. Raises InputError when a source does not exist, is invalid (unknown
    scheme, wrong rows), cannot be split (if its labels are known already) or needs a package that is not installed.
    """
    kind = kind_of(data, folder)
    if kind == "text":
        check_encoding(data.encoding)
    classes = use == "all"
    if kind == "text" and classes and (targeted := text_targets.with_targets(data, task, folder)) is not None:
        text_targets.check_learnable(targeted)
        assign(targeted, data, seed=seed)
        sources = text_targets.identity(data, folder)
        return {"task": targeted.task, **_facts(data, kind, seed, sources)}
    probes = {"source": open_source(data.source, data, folder, kind, classes=classes).probe()}
    if data.test_source:
        probes["test_source"] = open_source(data.test_source, data, folder, kind, classes=classes).probe()
    listings = [probe.listing for probe in probes.values() if probe.listing is not None]
    if classes and len(listings) == len(probes):
        assign(with_test(*listings) if data.test_source else listings[0], data, seed=seed)
    return _facts(data, kind, seed, {name: probe.identity for name, probe in probes.items()})


def _facts(data: Data, kind: SampleKind, seed: int, sources: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": kind,
        "settings": data.model_dump(mode="json"),
        "seed": seed,
        "sources": dict(sources),
        # Copies of texts are detected by Unicode's normal form, which new versions of Unicode extend.
        "packages": package_versions(["pillow"]) if kind == "image" else {"unicode": unicodedata.unidata_version},
    }


def prepare(
    data: Data,
    *,
    seed: int,
    image_size: Size,
    resize: str,
    folder: Path,
    workspace: Path,
    listener: Listener,
    workers: int,
    use: Use = "all",
    helpers: Helpers | None = None,
) -> PreparedData:
    """Split, check, decode and resize the images of `data` into `workspace`: ``.npy`` files and ``data.json``.

    With `use` = ``all`` training images are written as `core.encoded_images` says, and not decoded; otherwise the
    source may be temporary. Images beyond data.limit_train and data.limit_test are neither opened nor checked.
    Every image is decoded once, at full size: an image of max_pixels takes 0.5 GB meanwhile, in each thread. Images of
    a split keep the source's order (files are sorted by name); training shuffles them. `workers` is the number of
    decoding threads; `helpers` decode, too. With `use` other than ``all`` everything goes into that one split (see
    `splits.assign_to_one`): test images to evaluate files, or training images to calibrate; neither needs classes, or
    samples of each class. The same input gives the same bytes, also after an interrupted attempt.

    Raises InputError when the data cannot be used (see `splits.assign`; also when nothing is readable, or for
    unreadable files with ``on_unreadable = "stop"``), StageError when the disk is too small or not writable.
    """
    listing = _listing(data, folder, "image", use)
    height, width, channels = sides(image_size)

    def one_pass(check: Check[Decoded], plan: Assignment) -> dict[str, str]:
        return image_pass(
            check, plan, size=image_size, resize=resize, max_pixels=data.max_pixels, workspace=workspace,
            listener=listener, workers=workers, encoded=use == "all", helpers=helpers,
            check_stop=lambda: _stop_if_unreadable(check, data, NAMED),
        )  # fmt: skip

    def traits() -> ImageTraits:
        return ImageTraits(image_size, resize)

    digests, report = _run_passes(listing, data, seed, use, workspace, listener, traits, one_pass)
    return _save(
        PreparedData(
            folder=workspace,
            source=data.source,
            labels=listing.labels,
            height=height,
            width=width,
            channels=channels,
            resize=resize,
            counts=report["kept"],
            sha256=sha256_of(digests),
            report=report,
        )
    )


def prepare_texts(
    data: Data, *, seed: int, folder: Path, workspace: Path, listener: Listener, use: Use = "all", task: str = ""
) -> PreparedData:
    """Split and check the texts of `data`; write ``SPLIT.jsonl``, labels and ``data.json`` into `workspace`.

    With `use` = ``all`` the targets may be tags or numbers: of `task`, or what they show (`text_targets`).

    Texts are decoded by data.encoding and written without a byte order mark, otherwise unchanged. Of copies (see
    `decode_text`) only one is written: in test, else in validation, else in training. Order, `use`, limits and errors
    are as in `prepare`. Memory holds one text at a time, and a digest and a few numbers of each.
    """
    check_encoding(data.encoding)
    listing = trained_texts(data, task, folder) if use == "all" else _listing(data, folder, "text", use)

    def one_pass(check: Check[DecodedText], plan: Assignment) -> dict[str, str]:
        return text_pass(
            check, plan, encoding=data.encoding, max_characters=data.max_characters, workspace=workspace,
            listener=listener, check_stop=lambda: _stop_if_unreadable(check, data, NAMED),
        )  # fmt: skip

    def traits() -> TextTraits:
        return TextTraits(data.encoding)

    digests, report = _run_passes(listing, data, seed, use, workspace, listener, traits, one_pass)
    return _save(
        PreparedData(
            folder=workspace,
            source=data.source,
            labels=listing.labels,
            height=0,
            width=0,
            resize="",
            counts=report["kept"],
            sha256=sha256_of(digests if listing.values is None else [digests, listing.task, listing.labels]),
            report=report,
            kind="text",
            task=listing.task,
        )
    )


def trained_texts(data: Data, task: str, folder: Path) -> Listing:
    """Return the texts to train on, with classes or other targets. Raises InputError as `prepare_texts`."""
    listing = text_targets.with_targets(data, task, folder)
    if listing is None:
        return _listing(data, folder, "text", "all")
    text_targets.check_learnable(listing)
    return listing


def _listing(data: Data, folder: Path, kind: SampleKind, use: Use) -> Listing:
    """Return the samples of data.source and data.test_source. Raises InputError, also for data.on_unreadable."""
    classes = use == "all"
    listing = open_source(data.source, data, folder, kind, classes=classes).listing()
    if data.test_source:
        listing = with_test(listing, open_source(data.test_source, data, folder, kind, classes=classes).listing())
    if listing.refused and data.on_unreadable == "stop":
        _raise_unreadable(kind, [(refusal.name, refusal.why) for refusal in listing.refused])
    return listing


def _run_passes(
    listing: Listing,
    data: Data,
    seed: int,
    use: Use,
    workspace: Path,
    listener: Listener,
    traits: Callable[[], Traits[S]],
    one_pass: Callable[[Check[S], Assignment], dict[str, str]],
) -> tuple[dict[str, str], dict[str, Any]]:
    """Pass over the data, again if a split lost a class to unreadable samples. Returns file hashes and report."""
    excluded: dict[int, str] = {}
    while True:
        try:
            if use == "all":
                plan = assign(listing, data, seed=seed, without=excluded)
            else:
                plan = assign_to_one(listing, data, seed=seed, into=SPLITS.index(use), without=excluded)
        except InputError as error:
            raise InputError(error.message + _examples(listing, excluded), error.remedy) from error
        planned = [Counter(listing.targets[split].tolist()) for split in plan.splits]
        check = Check(listing, excluded, traits())
        with explain_disk_errors(workspace):
            workspace.mkdir(parents=True, exist_ok=True)
            (workspace / "data.json").unlink(missing_ok=True)
            digests = one_pass(check, plan)
        _stop_if_unreadable(check, data, 1)
        # Only training needs samples of each class.
        lost = missing_classes(check, planned) if use == "all" else []
        classes = {target for _, target in lost}
        if not any(listing.targets[index] in classes for index in set(check.unreadable) - set(excluded)):
            break
        # All samples of a class in some split are unreadable: split again without them. It is rare, so worth a pass.
        excluded = check.unreadable
        listener.note("info", f"splitting again without the unreadable {listing.kind}s", unreadable=len(excluded))
    _check_usable(check, lost)
    report = check.report(plan)
    with explain_disk_errors(workspace):
        write_unreadable(check.excluded(plan), workspace)
    for warning in report["warnings"]:
        listener.note("warning", warning["what"], remedy=warning["remedy"])
    return digests, report


def _save(prepared: PreparedData) -> PreparedData:
    with explain_disk_errors(prepared.folder):
        save_prepared(prepared, prepared.folder)
    return prepared


def _stop_if_unreadable(check: Check[Any], data: Data, number: int) -> None:
    """With ``on_unreadable = "stop"``, raise InputError if `number` samples or more are unreadable."""
    if data.on_unreadable == "stop" and len(check.unreadable) >= number:
        _raise_unreadable(check.listing.kind, [(check.listing.names[i], why) for i, why in check.unreadable.items()])


def _raise_unreadable(kind: SampleKind, unreadable: list[tuple[str, str]]) -> None:
    lines = [f"{shorten(name, 200)}: {why}" for name, why in unreadable[:NAMED]]
    raise InputError(
        f"unreadable {kind}s:\n  - " + "\n  - ".join(lines),
        'fix or remove them, or set data.on_unreadable = "drop" to continue without them',
    )


def _examples(listing: Listing, unreadable: Mapping[int, str]) -> str:
    """Return lines that name the first unreadable samples and the reasons, or ``""``."""
    return "".join(f"\n  - {shorten(listing.names[i], 200)}: {why}" for i, why in list(unreadable.items())[:NAMED])


def _check_usable(check: Check[Any], lost: list[tuple[int, int]]) -> None:
    """Raise InputError when the remaining samples are not enough to train and test."""
    listing = check.listing
    noun = listing.kind
    examples = _examples(listing, check.unreadable)
    if not any(check.counts[split] for split in range(len(SPLITS))):
        if not check.unreadable:
            raise InputError(f"{shorten(listing.source, 200)} holds no {noun}s", f"put {noun}s into it")
        raise InputError(f"none of {count(len(check.unreadable), noun)} could be read{examples}", "fix the files")
    for split, consequence in ((TRAIN, "they cannot be learned"), (TEST, "their accuracy cannot be measured")):
        classes = {target for code, target in lost if code == split}
        if classes:
            raise InputError(
                f"no {noun} is left in {SPLITS[split]} of {class_names(listing, classes)}: {consequence}. "
                f"Unreadable {noun}s and copies of {noun}s in other splits are left out{examples}",
                f"add different, readable {noun}s of these classes, or remove the classes",
            )
