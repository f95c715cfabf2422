"""The model at work: prints the classes that it finds most likely.

    python example.py PICTURE        a .npy (height, width, 3) uint8 of the file's size; other pictures need Pillow
    python example.py "A TEXT"       where the model takes texts
    python example.py INPUTS.npz     where it takes arrays: one for each input, in the file's order
    python example.py                the first golden vector

Needs numpy and one runtime: ai-edge-litert, tflite-runtime or tensorflow for .tflite, onnxruntime for .onnx.
"""

import json
import os
import sys

import numpy
from model import HERE, Model


def read_picture(path, contract):
    """Return a picture as the model takes it: (height, width, 3) uint8, RGB, resized as it was in training."""
    height, width = contract["shape"][1:3]
    if path.endswith(".npy"):
        pixels = numpy.load(path, allow_pickle=False)
        if pixels.shape != (height, width, 3) or pixels.dtype != numpy.uint8:
            wanted = "expected ({}, {}, 3) uint8".format(height, width)
            raise SystemExit("{} is {} {}, {}".format(path, pixels.shape, pixels.dtype, wanted))
        return pixels
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise SystemExit("reading {} needs Pillow; a .npy of ({}, {}, 3) does not".format(path, height, width))
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return numpy.asarray(fit(picture.convert("RGB"), width, contract["resize"], Image))


def fit(picture, size, resize, pillow):
    """Return the picture as size x size: stretched, its middle cut out (crop), or whole on black (pad)."""
    wide, high = picture.size
    if resize == "crop":
        side = min(wide, high)
        left, top = (wide - side) / 2, (high - side) / 2
        return picture.resize((size, size), pillow.BILINEAR, box=(left, top, left + side, top + side))
    if resize == "pad" and wide != high:
        side = max(wide, high)
        inner = (max(1, round(wide * size / side)), max(1, round(high * size / side)))
        canvas = pillow.new("RGB", (size, size))
        canvas.paste(picture.resize(inner, pillow.BILINEAR), ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return canvas
    return picture.resize((size, size), pillow.BILINEAR)


def read_sample(model, argument):
    """Return the sample that the command line names."""
    roles = [about["role"] for about in model.inputs_about]
    if roles == ["pixels"]:
        return read_picture(argument, model.about["contract"])
    if "ids" in roles:
        return argument
    arrays = numpy.load(argument, allow_pickle=False)
    return [arrays] if isinstance(arrays, numpy.ndarray) else [arrays[name] for name in arrays.files]


def main():
    """Print the most likely classes of a sample."""
    model = Model()
    if len(sys.argv) > 1:
        found = model.classify(read_sample(model, sys.argv[1]))
    else:
        with open(os.path.join(HERE, "golden.json"), encoding="utf-8") as stream:
            golden = json.load(stream)
        arrays = numpy.load(os.path.join(HERE, "golden.npz"), allow_pickle=False)
        scores = model.run([arrays["input_{}".format(i)][0] for i in range(len(model.inputs_about))])
        best = numpy.argsort(-scores, kind="stable")[:3]
        found = [(model.labels[i] if i < len(model.labels) else "class {}".format(i), float(scores[i])) for i in best]
        print("the first golden vector ({}):".format(golden["source"]))
    for label, score in found:
        print("{:8.4f}  {}".format(score, json.dumps(label, ensure_ascii=False)[1:-1]))


if __name__ == "__main__":
    main()
