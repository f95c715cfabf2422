"""The model at work: prints the classes or tags that it finds, its boxes, or what else it gives.

    python example.py PICTURE        a .npy (height, width, channels) uint8 of the file's size; others need Pillow
    python example.py "A TEXT"       where the model takes texts
    python example.py INPUTS.npz     where it takes arrays: one for each input, in the file's order
    python example.py                the first golden vector

Needs numpy and one runtime: ai-edge-litert, tflite-runtime or tensorflow for .tflite, onnxruntime for .onnx.
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SHOWN = 8
SHOWN_SCORE, SHOWN_BOXES = 0.25, 20
OVERLAP = 0.7  # of heads whose boxes overlap: as they were judged
ORDERS = {"yxyx": "[ymin, xmin, ymax, xmax]", "xyxy": "[x1, y1, x2, y2]", "cxcywh": "[centre x, y, width, height]"}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # of Pillow, by channels


def read_picture(path, contract):
    """Return a picture as the model takes it: (height, width, channels) uint8, read and resized as in training."""
    import numpy

    height, width, channels = contract["shape"][1:4]
    if channels not in MODES:  # the channels come first: NCHW
        channels, height, width = contract["shape"][1:4]
    if path.endswith(".npy"):
        pixels = numpy.load(path, allow_pickle=False)
        if pixels.shape != (height, width, channels) or pixels.dtype != numpy.uint8:
            expected = "expected ({}, {}, {}) uint8".format(height, width, channels)
            raise SystemExit("{} is {} {}, {}".format(path, pixels.shape, pixels.dtype, expected))
        return pixels
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise SystemExit(
            "reading {} needs Pillow; a .npy of ({}, {}, {}) does not".format(path, height, width, channels)
        )
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow's own convert() would clip to white
        scaled = (numpy.asarray(picture).astype(numpy.int64) * 255 + 32767) // 65535
        picture = Image.fromarray(numpy.clip(scaled, 0, 255).astype(numpy.uint8))
    if picture.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if channels < 4:
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    if picture.mode not in ("L", "RGBA"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    pixels = numpy.asarray(fit(picture.convert(MODES[channels]), width, height, contract["resize"], Image))
    return pixels.reshape(height, width, channels)


def fit(picture, width, height, resize, pillow):
    """Return the picture as width x height: stretched, its middle cut out (crop), or whole on black (pad)."""
    wide, high = picture.size
    wider = wide * height - high * width  # than it is to become, if positive
    if resize == "crop":
        across, down = (high * width / height, high) if wider > 0 else (wide, wide * height / width)
        left, top = (wide - across) / 2, (high - down) / 2
        return picture.resize((width, height), pillow.BILINEAR, box=(left, top, left + across, top + down))
    if resize == "pad" and wider:
        fitted = (width, round(high * width / wide)) if wider > 0 else (round(wide * height / high), height)
        inner = (max(1, fitted[0]), max(1, fitted[1]))
        canvas = pillow.new(picture.mode, (width, height))
        canvas.paste(picture.resize(inner, pillow.BILINEAR), ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return canvas
    return picture.resize((width, height), pillow.BILINEAR)


def read_sample(model, argument):
    """Return the sample that the command line names."""
    import numpy

    roles = [about["role"] for about in model.inputs_about]
    if roles == ["pixels"]:
        return read_picture(argument, model.about["contract"])
    if "ids" in roles:
        return argument
    if not argument.endswith((".npz", ".npy")):
        raise SystemExit("{}: give the values as .npz or .npy, as the model takes them".format(argument))
    arrays = numpy.load(argument, allow_pickle=False)
    names = [about["name"] for about in model.inputs_about]
    if not isinstance(arrays, numpy.ndarray) and sorted(names) != sorted(arrays.files):
        names = arrays.files  # in the file's order, whatever they are called
    parts = [arrays] if isinstance(arrays, numpy.ndarray) else [arrays[name] for name in names]
    shapes = [tuple(about["shape"]) for about in model.inputs_about]
    shapes = [shape[1:] if shape and shape[0] in (1, -1) else shape for shape in shapes]  # without the batch
    if len(parts) != len(shapes):
        raise SystemExit("{} holds {} arrays, the model takes {}".format(argument, len(parts), len(shapes)))
    for part, shape in zip(parts, shapes):
        if all(side > 0 for side in shape) and part.shape != shape:
            raise SystemExit("{} holds {}, expected {}".format(argument, part.shape, shape))
    return parts


def describe(model, stored):
    """Return what the model gives for one sample, a line each."""
    import numpy

    outputs = model.outputs(stored)
    if model.gives == "boxes":
        return boxes_of(model, outputs)
    place, decision = model.about["file"]["answer"], model.about["file"]["decision"]
    if model.gives == "scores":
        scores = model.run(stored)
        best = numpy.argsort(-scores, kind="stable")[:3]
        lines = ["{:8.4f}  {}".format(scores[i], name_of(model, i)) for i in best]
    elif model.gives == "tags":
        shares = model.run(stored)
        least = decision["threshold"]
        given = [i for i in numpy.argsort(-shares, kind="stable") if shares[i] >= least]
        lines = ["{:8.4f}  {}".format(shares[i], name_of(model, i, "tag")) for i in given]
        lines = lines or ["no tag from {} on".format("one half" if least == 0.5 else least)]
    elif decision["is_map"]:
        lines = [*classes_of_pixels(model, outputs[place], decision), summary(outputs[place])]
    elif decision["kind"] == "yes":
        lines = [yes_or_no(model, decision, float(model.run(stored)[0]))]
    elif len(model.labels) == outputs[place].size:
        values = outputs[place].reshape(-1)
        lines = ["{:.6g}  {}".format(float(value), name_of(model, i)) for i, value in enumerate(values)]
    else:
        lines = [summary(outputs[place])]
    for index, (values, about) in enumerate(zip(outputs, model.about["file"]["outputs"])):
        if index != place:
            lines.append("{}: {}".format(plain(about["name"]), summary(values)))
    return lines


def name_of(model, number, what="class"):
    """Return the name of a class or a tag by its number."""
    return plain(model.labels[number]) if number < len(model.labels) else "{} {}".format(what, number)


def yes_or_no(model, decision, value):
    """Return what one value says: which of two classes it is, or whether a tag is given."""
    given, least = value >= decision["threshold"], "from {:g} on".format(decision["threshold"])
    if decision["classes"] == 1:
        return "{:8.4f}  {}: {} ({} it is a yes)".format(
            value, name_of(model, 0, "tag"), "yes" if given else "no", least
        )
    return "{:8.4f}  {} ({} it is {}, else {})".format(
        value, name_of(model, int(given)), least, name_of(model, 1), name_of(model, 0)
    )


def classes_of_pixels(model, values, decision):
    """Return which share of a map's pixels each class has, a line each, the most first."""
    import numpy
    from closeness import decided

    shares = numpy.bincount(decided(values.reshape(1, -1), decision)[0][0], minlength=decision["classes"])
    best = [i for i in numpy.argsort(-shares, kind="stable") if shares[i]][:SHOWN]
    return ["{:6.2f} % of the pixels  {}".format(100.0 * shares[i] / shares.sum(), name_of(model, i)) for i in best]


def boxes_of(model, outputs):
    """Return the boxes that a detector finds, a line each, the surest first."""
    import numpy

    about = model.about["file"]["boxes"]
    places = [one["name"] for one in model.about["file"]["outputs"]]
    parts = {role: outputs[places.index(name)] for role, name in zip(about["roles"], about["outputs"])}
    if "rows" in parts:
        rows = parts["rows"].reshape(-1, 6)
        boxes, scores, classes = rows[:, :4], rows[:, 4], rows[:, 5]
    elif about["layout"] != "outputs":
        boxes, scores, classes = decoded(about, parts)
    else:
        boxes = parts["boxes"].reshape(-1, 4)
        scores, classes = told_apart(about, parts, outputs, places)
    count = int(parts["count"].reshape(-1)[0]) if "count" in parts else len(scores)
    shown = [i for i in numpy.argsort(-scores[:count], kind="stable") if scores[i] >= SHOWN_SCORE]
    lines = ["{} boxes of a score of {} or more; a box is {}".format(len(shown), SHOWN_SCORE, ORDERS[about["corners"]])]
    for i in shown[:SHOWN_BOXES]:
        number = round(float(classes[i]))
        name = model.labels[number] if 0 <= number < len(model.labels) else "class {}".format(number)
        numbers = ", ".join("{:.4g}".format(float(value)) for value in boxes[i])
        lines.append("{:8.4f}  {}  [{}]".format(scores[i], plain(name), numbers))
    return lines


def told_apart(about, parts, outputs, places):
    """Return scores and classes, which of two outputs without names are told apart by their values."""
    if "scores" in parts and "classes" in parts:
        return parts["scores"].reshape(-1), parts["classes"].reshape(-1)
    both = [outputs[places.index(name)].reshape(-1) for role, name in zip(about["roles"], about["outputs"])
            if role == "scores or classes"]  # fmt: skip
    whole = [bool((one == one.round()).all()) for one in both]
    if whole[0] == whole[1]:
        whole = [bool(one.max() > 1) for one in both]
    return (both[1], both[0]) if whole[0] else (both[0], both[1])


def decoded(about, parts):
    """Return boxes (n, 4), scores and classes (n,) of outputs that are no boxes yet, without those that overlap."""
    import numpy

    layout, settings = about["layout"], about.get("decoding") or {}
    if layout == "ssd":
        boxes = from_anchors(parts["encodings"].astype("float64"), settings)
        scores = shares_of(parts["logits"].reshape(len(boxes), -1).astype("float64"), settings["scores"])
        scores = {"first": scores[:, 1:], "last": scores[:, :-1]}.get(settings["background"], scores)
    elif layout in ("detr", "rtdetr"):
        boxes = parts["boxes"].reshape(-1, 4)
        scores = shares_of(parts["logits"].reshape(len(boxes), -1).astype("float64"), "softmax" * (layout == "detr"))
        scores = scores[:, :-1] if layout == "detr" else scores
    elif layout == "scored":
        role = next(one for one in about["roles"] if one != "boxes")
        boxes = parts["boxes"].reshape(-1, 4)
        scores = shares_of(parts[role].reshape(len(boxes), -1).astype("float64"), "")
        scores = scores[:, 1:] if role.endswith("background") else scores
    else:
        values = parts["head"].reshape(parts["head"].shape[-2:])
        values = values.T if values.shape[0] < values.shape[1] else values
        boxes = from_grid(values, about) if layout == "yolox" else values[:, :4]
        scores = values[:, 4:] if layout == "yolov8" else values[:, 4:5] * values[:, 5:]
    classes, scores = scores.argmax(axis=1), scores.max(axis=1)
    kept = numpy.argsort(-scores, kind="stable")
    kept = kept[scores[kept] >= max(SHOWN_SCORE, settings.get("score", 0.0))]
    if layout not in ("detr", "rtdetr"):
        kept = without_overlaps(corners(boxes, about["corners"]), classes, kept, settings.get("iou", OVERLAP))
    return boxes[kept], scores[kept], classes[kept]


def from_anchors(encodings, settings):
    """Return boxes [ymin, xmin, ymax, xmax] in shares, of encodings relative to anchors."""
    import base64
    import zlib

    import numpy

    rows = numpy.frombuffer(zlib.decompress(base64.b64decode(settings["anchors"])), "<f4").reshape(-1, 4)
    values = encodings.reshape(len(rows), -1)[:, [0, 1, 2, 3] if settings["order"] == "yxhw" else [1, 0, 3, 2]]
    values = values / numpy.array(settings["scales"])
    sizes = numpy.exp(numpy.minimum(values[:, 2:], 50)) if settings["sizes"] == "exp" else values[:, 2:]
    centres, half = values[:, :2] * rows[:, 2:] + rows[:, :2], sizes * rows[:, 2:] / 2
    return numpy.concatenate([centres - half, centres + half], axis=1)


def from_grid(values, about):
    """Return the boxes of YOLOX's head in pixels: centres in cells of three grids, sizes as logarithms."""
    import numpy

    cells = []
    for stride in (8, 16, 32):
        y, x = numpy.meshgrid(
            numpy.arange(about["height"] // stride), numpy.arange(about["width"] // stride), indexing="ij"
        )
        cells.append(numpy.stack([x.ravel(), y.ravel(), numpy.full(x.size, stride)], axis=-1))
    cells = numpy.concatenate(cells)
    centres, sizes = values[:, :2] + cells[:, :2], numpy.exp(numpy.minimum(values[:, 2:4], 50))
    return numpy.concatenate([centres * cells[:, 2:], sizes * cells[:, 2:]], axis=1)


def shares_of(values, kind):
    """Return scores from 0 to 1, of logits of a softmax or of sigmoids; what lies within 0 to 1 is no logit."""
    import numpy

    if kind == "softmax":
        values = numpy.exp(values - values.max(axis=1, keepdims=True))
        return values / values.sum(axis=1, keepdims=True)
    if kind == "sigmoid" or (not kind and (values.min() < 0 or values.max() > 1)):
        return 1 / (1 + numpy.exp(-numpy.clip(values, -100, 100)))
    return values


def corners(boxes, order):
    """Return boxes (n, 4) with the two corners one behind the other."""
    import numpy

    if order != "cxcywh":
        return boxes
    return numpy.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def without_overlaps(boxes, classes, order, most):
    """Return those of `order`, the best first, that no better box of their class overlaps by more than `most`."""
    import numpy

    kept = []
    for i in order:
        low, high = numpy.maximum(boxes[i, :2], boxes[kept, :2]), numpy.minimum(boxes[i, 2:], boxes[kept, 2:])
        shared = numpy.prod(numpy.clip(high - low, 0, None), axis=1)
        both = numpy.prod(boxes[i, 2:] - boxes[i, :2]) + numpy.prod(boxes[kept, 2:] - boxes[kept, :2], axis=1) - shared
        if not (shared[classes[kept] == classes[i]] > most * both[classes[kept] == classes[i]]).any():
            kept.append(i)
    return numpy.array(kept, int)


def summary(values):
    """Return an output in words: few values as they are, of more their shape and what they reach from and to."""
    import numpy

    values = numpy.asarray(values)
    if values.size <= SHOWN:
        return ", ".join("{:.6g}".format(float(value)) for value in values.reshape(-1))
    low, high = float(values.min()), float(values.max())
    return "{} values of shape {}, {:.4g} to {:.4g}".format(values.size, list(values.shape), low, high)


def plain(text):
    """Return a name without anything that a terminal would take for more than letters."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def main():
    """Print what the model gives for a sample."""
    try:
        import numpy
        from model import BundleError, Model
    except ImportError as error:
        raise SystemExit("{}: install it".format(error))
    try:
        model = Model()
        if len(sys.argv) > 1:
            stored = model.prepare(read_sample(model, sys.argv[1]))
        else:
            with open(os.path.join(HERE, "golden.json"), encoding="utf-8") as stream:
                golden = json.load(stream)
            arrays = numpy.load(os.path.join(HERE, "golden.npz"), allow_pickle=False)
            stored = [arrays["input_{}".format(i)][0] for i in range(len(model.inputs_about))]
            print("the first golden vector ({}):".format(golden["source"]))
        for line in describe(model, stored):
            print(line)
    except BundleError as error:
        raise SystemExit(str(error))
    except Exception as error:  # a file that is no picture, a bundle that was not copied whole, a runtime that fails
        where = " ".join(sys.argv[1:2])
        raise SystemExit("{}{}: {}".format(where + ": " if where else "", type(error).__name__, error))


if __name__ == "__main__":
    main()
