"""Samples and their targets, changed."""

from __future__ import annotations

import importlib
import io
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from edgeproof.core.codec import to_json, write_json
from edgeproof.core.model import InputContract
from edgeproof.export import sidecar
from edgeproof.workflows.model_files import open_artifact

from . import seeds
from .area import OUT, Inputs, write_inputs
from .content import changed
from .documents import mutants

# Only pictures and files that ONNX Runtime does not read: what was measured is a row that says so.
NOWHERE = ("--on", "local/onnxruntime", "--out", OUT, "--json")


def pictures(box: Path, draw: random.Random) -> Inputs:
    write_inputs(box, a_DOT_tflite=seeds.tflite())
    for label in ("red", "green", "blue"):
        for index in range(2):
            write_inputs(box, **{f"pictures__{label}__{index}.png": seeds.picture("PNG", 30 * index + len(label))})
    kinds = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO")
    intact = {kind: seeds.picture(kind) for kind in kinds}
    while True:
        kind = draw.choice(kinds)
        write_inputs(box, **{f"pictures__red__x.{kind.lower()}": changed(intact[kind], draw)})
        yield "evaluate", "a.tflite", "--data", draw.choice(("folder:pictures", "images:pictures/red")), *NOWHERE
        (box / "pictures" / "red" / f"x.{kind.lower()}").unlink()


def arrays(box: Path, draw: random.Random) -> Inputs:
    write_inputs(box, a_DOT_tflite=seeds.tflite())
    artifact = replace(open_artifact(box / "a.tflite"), contract=InputContract("image", (1, 8, 8, 3), kind="tensor"))
    write_json(sidecar(box / "a.tflite"), to_json(replace(artifact, path=Path("a.tflite"))))
    intact = seeds.array()
    while True:
        write_inputs(box, x_DOT_npy=changed(intact[:160] if draw.random() < 0.5 else intact, draw))
        yield "evaluate", "a.tflite", "--data", "npy:x.npy", *NOWHERE


def array_files(box: Path, draw: random.Random) -> Inputs:
    """Arrays with targets, and tables of numbers. No table has the model's columns: that is said when all is read."""
    write_inputs(box, a_DOT_tflite=seeds.tflite())
    artifact = replace(open_artifact(box / "a.tflite"), contract=InputContract("image", (1, 8, 8, 3), kind="tensor"))
    write_json(sidecar(box / "a.tflite"), to_json(replace(artifact, path=Path("a.tflite"))))
    archive = seeds.arrays()
    while True:
        write_inputs(
            box, x_DOT_npz=changed(archive, draw), x_DOT_npy=seeds.array(), y_DOT_npy=changed(seeds.targets(), draw)
        )
        write_inputs(box, x_DOT_csv=changed(seeds.NUMBERS, draw))
        table = ("csv:x.csv", "--target", draw.choice(("t", "u", "w", "a,t")))
        windows = ("--window", "2", "--stride", "1", "--group", "g") if draw.random() < 0.5 else ()
        source = draw.choice((("npz:x.npz",), ("npy:x.npy,y.npy",), (*table, *windows)))
        yield "evaluate", "a.tflite", "--data", *source, *NOWHERE


def waves(box: Path, draw: random.Random) -> Inputs:
    """WAV files for a model of waveforms, of which the last has no format: that is said when the others are read."""
    importlib.import_module("scipy.signal")  # NumPy's tests, which it imports, ask lscpu what the processor has
    write_inputs(box, a_DOT_tflite=seeds.tflite())
    contract = InputContract("image", (1, 192), kind="tensor")
    artifact = replace(open_artifact(box / "a.tflite"), contract=contract)
    inputs = (replace(artifact.inputs[0], shape=(1, 192)),)
    write_json(sidecar(box / "a.tflite"), to_json(replace(artifact, path=Path("a.tflite"), inputs=inputs)))
    intact = [seeds.sound(bits) for bits in (8, 16, 24, 32)]
    while True:
        write_inputs(box, w__a__1_DOT_wav=changed(draw.choice(intact), draw), w__b__2_DOT_wav=b"no sound")
        windows = draw.choice(((), ("--window-seconds", "0.024")))
        rate = draw.choice(("8000", "16000", "7"))
        yield "evaluate", "a.tflite", "--data", "wav:w", "--sample-rate", rate, *windows, *NOWHERE


def masks(box: Path, draw: random.Random) -> Inputs:
    """Label pictures, of a model that answers with no map: that is said when all masks are read."""
    write_inputs(box, a_DOT_tflite=seeds.tflite())
    for index in range(3):
        write_inputs(box, **{f"m__images__{index}.png": seeds.picture("PNG", 40 * index)})
    kinds = {kind: seeds.picture(kind) for kind in ("PNG", "GIF", "BMP", "JPEG")}
    kinds["grey"] = seeds.mask()
    while True:
        for index in range(3):
            kind = draw.choice(sorted(kinds)) if index == 1 else "grey"
            write_inputs(box, **{f"m__masks__{index}.png": changed(kinds[kind], draw) if index == 1 else kinds[kind]})
        write_inputs(box, m__labels_DOT_txt=changed(seeds.LABELS, draw))
        yield "evaluate", "a.tflite", "--data", "masks:m", *NOWHERE
        (box / "m" / "labels.txt").unlink()


def coco(box: Path, draw: random.Random) -> Inputs:
    """Boxes in COCO's format, of a model that answers with none."""
    write_inputs(box, a_DOT_tflite=seeds.tflite())
    for index in range(3):
        write_inputs(box, **{f"c__{index}.png": seeds.picture("PNG", 40 * index)})
    with Image.open(box / "c" / "0.png") as picture:
        width, height = picture.size
    document = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": width, "height": height} for i in range(3)],
        "annotations": [{"id": i, "image_id": i % 3, "category_id": i % 2, "bbox": [0, 1, 2, 3]} for i in range(4)],
        "categories": [{"id": i, "name": f"class {i}"} for i in range(2)],
    }
    for mutant in mutants(document, draw):
        text = json.dumps(mutant).encode()
        write_inputs(box, c__boxes_DOT_json=text if draw.random() < 0.8 else changed(text, draw))
        yield "evaluate", "a.tflite", "--data", "coco:c/boxes.json", *NOWHERE


def anchors(box: Path, draw: random.Random) -> Inputs:
    """Anchors in files and by parameters, of a model that answers with no boxes."""
    write_inputs(box, a_DOT_tflite=seeds.tflite(), x_DOT_png=seeds.picture("PNG"))
    rows = np.array([[0.5, 0.5, 0.2, 0.2], [0.25, 0.75, 0.4, 0.1]])
    stream = io.BytesIO()
    np.save(stream, rows)
    table = b"ycenter,xcenter,h,w\n" + b"".join(b",".join(b"%g" % one for one in row) + b"\n" for row in rows)
    parameters = b"strides=8:16,min_scale=0.2,aspect_ratios=1:2:0.5,fixed_anchor_size=true,scales=10:10:5:5,iou=0.6"
    while True:
        write_inputs(box, a_DOT_npy=changed(stream.getvalue(), draw), a_DOT_csv=changed(table, draw))
        text = changed(parameters, draw).decode("utf-8", "replace").replace("\0", "0") or "none"
        given = draw.choice(("a.npy", "a.csv", "a.csv,background=last,order=xywh", text, "a.npy," + text))
        command = draw.choice(
            (("evaluate", "a.tflite", *NOWHERE, "--data"), ("bundle", "a.tflite", "--out", OUT, "--data"))
        )
        yield *command, "images:x.png", f"--anchors={given}"
