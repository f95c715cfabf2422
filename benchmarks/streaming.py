"""Cost and memory of decoding and features, for ten times as many images: both should stay as they are for each image.

Images are JPEG files of 96 pixels. Each number of them is prepared (decoded, checked, hashed, split), and passed
through a frozen backbone, as `edgeproof run` does it: with one worker on one core, and with two on two cores. What is
measured of each stage is its time, its processor time, the peak of resident memory of all its processes (the sum of
their VmHWM), and what it writes. The backbone is MobileNetV2 of width 0.35 with random weights: the smaller it is, the
more decoding weighs.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import numpy as np

from .sides import Job, Row, Scale, run_side, serve

FEW, TIMES = 7_000, 10
HELD_OUT = 250  # files of the validation split, and of the test split
CLASSES = 10
COST, MEMORY = 1.15, 1.3  # the claims: a number of images in `TIMES` times the cost, in the same memory
WORKERS = (1, 2)


def run(scale: Scale, folder: Path) -> list[Row]:
    """Prepare and pass few images and `TIMES` as many, with each number of workers."""
    mine = folder / "streaming"
    few = 100 if scale.quick else FEW
    counts = (few, few * TIMES)
    common = {"size": scale.image_size, "backbone": str(mine / "backbone.tflite")}
    run_side("streaming", "backbone", {**common, "tiny": scale.quick}, mine)
    held_out = 20 if scale.quick else HELD_OUT
    run_side("streaming", "draw", {**common, "counts": counts, "held_out": held_out, "folder": str(mine)}, mine)
    rows = []
    for workers in WORKERS:
        answers: dict[int, list[Job]] = {count: [] for count in counts}
        for turn in range(scale.long_repeats):
            for count in counts if turn % 2 else reversed(counts):
                job = {**common, "images": str(mine / f"images-{count}"), "workers": workers,
                       "workspace": str(mine / f"{count}-{workers}-{turn}")}  # fmt: skip
                stages = [run_side("streaming", stage, job, mine) for stage in ("prepare", "features")]
                answers[count].append({f"{key} {n}": v for n, stage in enumerate(stages) for key, v in stage.items()})
        rows.append(_row(scale, few, workers, answers))
    return rows


def _row(scale: Scale, few: int, workers: int, answers: dict[int, list[Job]]) -> Row:
    small, large = answers[few], answers[few * TIMES]

    def total(answer: Job, key: str = "seconds") -> float:
        return float(answer[f"{key} 0"] + answer[f"{key} 1"])

    def memory(answers: list[Job], stage: int) -> float:
        return float(np.median([answer[f"memory {stage}"] for answer in answers])) / 2**20

    expected, taken = tuple(TIMES * total(one) for one in small), tuple(total(one) for one in large)
    # What other work on the machine takes is not in the processor's time.
    most, least = (np.median([total(one, "processor") for one in size]) for size in (large, small))
    cost = float(most / least / TIMES)
    wall = float(np.median(taken) / np.median(expected))
    grown = [memory(large, stage) / memory(small, stage) for stage in (0, 1)]
    written = [float(answer["written 0"] + answer["written 1"]) / few / times for answer, times in
               ((small[0], 1), (large[0], TIMES))]  # fmt: skip
    decoded = large[0]["decoded 0"] / 1e9
    return Row(
        f"Decoding and features of {few * TIMES:,} images of {scale.image_size} px with {workers} "
        f"{'worker' if workers == 1 else 'workers'}, against {TIMES} times those of {few:,}",
        expected,
        taken,
        f"≤ {COST:g} × the processor time of an image, in ≤ {MEMORY:g} × the memory",
        None if scale.quick else cost <= COST and max(grown) <= MEMORY,
        f"processor time of an image {cost:.2f} ×, time {wall:.2f} ×; preparing took {large[0]['seconds 0']:.1f} s and "
        f"features {large[0]['seconds 1']:.1f} s; peak memory of all processes: preparing {memory(small, 0):.0f} → "
        f"{memory(large, 0):.0f} MiB ({grown[0]:.2f} ×), features {memory(small, 1):.0f} → {memory(large, 1):.0f} MiB "
        f"({grown[1]:.2f} ×); written for each image, features included: {written[0] / 1e3:.1f} → "
        f"{written[1] / 1e3:.1f} kB; the training images decoded would be {decoded:.2f} GB",
    )


# --- The sides --------------------------------------------------------------------------------------------------------


def _draw(job: Job) -> Job:
    """Write JPEG files: a smooth picture and noise, each another. The smaller set is the first of the larger one."""
    from PIL import Image

    random, size = np.random.default_rng(1), job["size"]
    few, many = (Path(job["folder"]) / f"images-{count}" for count in job["counts"])
    splits = {"train": job["counts"], "validation": [job["held_out"]] * 2, "test": [job["held_out"]] * 2}
    for split, (fewer, count) in splits.items():
        for label in range(CLASSES):
            for folder in (few, many):
                (folder / split / f"{label}").mkdir(parents=True)
        for number in range(count):
            coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            pixels = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)).astype(np.int16)
            pixels = np.clip(pixels + random.integers(-12, 13, (size, size, 1)), 0, 255).astype(np.uint8)
            name = f"{split}/{number % CLASSES}/{number:06d}.jpg"
            Image.fromarray(pixels).save(many / name, quality=90)
            if number < fewer:
                (few / name).hardlink_to(many / name)
    return {}


def _backbone(job: Job) -> Job:
    """Make the LiteRT copy of a backbone, as training makes it."""
    from edgeproof.frameworks.tensorflow import fresh
    from edgeproof.train.features import convert
    from edgeproof.train.network import Base

    from .fixtures import _tiny_backbone

    _, keras = fresh(1)
    size = job["size"]
    if job["tiny"]:
        maps = _tiny_backbone(size)
    else:
        maps = keras.applications.MobileNetV2((size, size, 3), alpha=0.35, include_top=False, weights=None)
    pooled = keras.layers.GlobalAveragePooling2D()(maps(keras.layers.Rescaling(1 / 127.5, -1)(maps.input)))
    Path(job["backbone"]).write_bytes(convert(Base(keras.Model(maps.input, pooled), (), "inside")))
    return {}


def _prepare(job: Job) -> Job:
    _use_cores(job["workers"])
    from edgeproof.core.progress import Silent
    from edgeproof.core.recipe_data import Data
    from edgeproof.data import prepare

    workspace = Path(job["workspace"])
    began, used = time.perf_counter(), _processor_seconds()
    data = prepare(
        Data(source=f"folder:{job['images']}"), seed=1, image_size=job["size"], resize="stretch", folder=Path(),
        workspace=workspace, listener=Silent(), workers=job["workers"],
    )  # fmt: skip
    spent, used = time.perf_counter() - began, _processor_seconds() - used
    decoded = data.counts["train"] * 3 * job["size"] ** 2
    facts = {"memory": _peak("self"), "written": _bytes(workspace), "decoded": decoded}
    return {"seconds": spent, "processor": used, **facts}


def _features(job: Job) -> Job:
    _use_cores(job["workers"])
    from edgeproof.core.dataset import load_prepared
    from edgeproof.core.progress import Silent
    from edgeproof.core.recipe_training import Augment
    from edgeproof.train.feature_pass import FeaturePass
    from edgeproof.train.feature_process import FeatureProcess

    workspace, peaks = Path(job["workspace"]), dict[str, int]()

    class Watching(Silent):
        def progress(self, task: str, done: float, total: float, note: str = "") -> None:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            peaks.update({process: _peak(process) for process in children})

    data = load_prepared(workspace)
    began, used = time.perf_counter(), _processor_seconds()
    images = {split: data.rows(split) for split in ("train", "validation")}
    computing = FeaturePass(images, workspace / "features", None, Augment(), 1, Watching())
    computing.start(FeatureProcess(Path(job["backbone"]).read_bytes(), job["workers"]))
    computing.result()
    spent, used = time.perf_counter() - began, _processor_seconds() - used
    memory = _peak("self") + sum(peaks.values())
    return {"seconds": spent, "processor": used, "memory": memory, "written": _bytes(workspace / "features")}


def _use_cores(count: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def _processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _peak(process: str) -> int:
    """Return the most bytes that a process had in memory."""
    found = re.search(r"^VmHWM:\s*(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    serve({"draw": _draw, "backbone": _backbone, "prepare": _prepare, "features": _features})
