"""Small detectors: a SavedModel that ends in non-maximum suppression, and a file with TensorFlow Lite's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIDE = 32
POSTPROCESS_SIDE = 8
_KEPT, _CELLS = 20, 64


def pictures(side: int, count: int) -> np.ndarray:
    random = np.random.default_rng(1)
    x = random.integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    for one in x:
        for _ in range(3):
            top, left = random.integers(0, side * 2 // 3, 2)
            one[top : top + side // 3, left : left + side // 4] = random.integers(0, 256, 3)
    return x


def anchors(cells: int) -> np.ndarray:
    """Boxes of three shapes at each of cells × cells places, [ymin, xmin, ymax, xmax] in shares."""
    across = (np.arange(cells) + 0.5) / cells
    centres = np.stack(np.meshgrid(across, across, indexing="ij"), -1).reshape(-1, 2)
    sizes = np.array([[0.2, 0.2], [0.35, 0.2], [0.2, 0.35]])
    return np.concatenate([np.concatenate([centres - s / 2, centres + s / 2], 1) for s in sizes]).astype(np.float32)


def save_detector(folder: Path) -> None:
    """Save a detector of three classes, with outputs boxes, scores, classes and count."""
    from edgeproof.frameworks import tensorflow

    tf, _ = tensorflow.fresh(3)
    random = np.random.default_rng(0)
    kernel = random.normal(0, 1.2, (5, 5, 3, 9)).astype(np.float32)
    shift = random.normal(0, 0.03, (5, 5, 3, 12)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name="image")])
    def detect(image):  # type: ignore[no-untyped-def]
        def of_anchors(kernel: np.ndarray, values: int):  # type: ignore[no-untyped-def]
            cells = tf.reshape(tf.nn.conv2d(image - 0.5, kernel, 4, "SAME"), (_CELLS, 3, values))
            return tf.reshape(tf.transpose(cells, (1, 0, 2)), (3 * _CELLS, values))

        likely, boxes = tf.sigmoid(of_anchors(kernel, 3)), tf.constant(anchors(8)) + of_anchors(shift, 4)
        score = tf.reduce_max(likely, 1)
        chosen, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=boxes, scores=score, max_output_size=_KEPT, iou_threshold=0.5, score_threshold=0.3,
            pad_to_max_output_size=True,
        )  # fmt: skip
        classes = tf.cast(tf.argmax(likely, 1, output_type=tf.int32), tf.float32)
        kept = tf.cast(tf.range(_KEPT) < count, tf.float32)
        return {
            "boxes": tf.gather(boxes, chosen)[None],
            "scores": (tf.gather(score, chosen) * kept)[None],
            "classes": tf.gather(classes, chosen)[None],
            "count": tf.cast(count, tf.float32)[None],
        }

    module = tf.Module()
    module.detect = detect
    tf.saved_model.save(module, str(folder), signatures=detect)


def centred_anchors() -> np.ndarray:
    """The anchors of `postprocess_file`: rows of ycenter, xcenter, height, width."""
    corners = anchors(4)
    size = corners[:, 2:] - corners[:, :2]
    return np.concatenate([corners[:, :2] + size / 2, size], axis=1)


def postprocess_file(path: Path, *, classes: int = 2, kept: int = 20, raw: bool = False) -> Path:
    """Write a detector that takes 8 × 8 pixels and ends in TFLite_Detection_PostProcess.

    The `raw` one has the same weights and returns what that operator is given: encodings, and logits of the background
    and of each class.
    """
    from flatbuffers import flexbuffers

    from .micro_files import File

    random, pixels, boxes = np.random.default_rng(7), POSTPROCESS_SIDE**2 * 3, 3 * 16
    file = File()
    x = file.tensor("image", [1, POSTPROCESS_SIDE, POSTPROCESS_SIDE, 3], "float32")
    row = file.tensor("row", [1, pixels], "float32")
    file.operator("RESHAPE", [x, file.tensor("to", [2], "int32", values=[1, pixels])], row)
    given = []
    for name, values, size in (("coded", 4, 0.0005), ("logits", classes + 1, 0.0006)):
        weights = random.normal(0, size, (boxes * values, pixels))
        flat = file.tensor(f"{name}_row", [1, boxes * values], "float32")
        fed = [row, file.tensor(f"{name}_weights", list(weights.shape), "float32", values=weights),
               file.tensor(f"{name}_bias", [boxes * values], "float32", values=np.zeros(boxes * values))]  # fmt: skip
        file.operator("FULLY_CONNECTED", fed, flat)
        shaped = file.tensor(name, [1, boxes, values], "float32")
        file.operator("RESHAPE", [flat, file.tensor(f"{name}_to", [3], "int32", values=[1, boxes, values])], shaped)
        given.append(shaped)
    if raw:
        return file.write(path, [x], given)
    scores = file.tensor("likely", [1, boxes, classes + 1], "float32")
    file.operator("LOGISTIC", [given[1]], scores)
    there = file.tensor("anchors", [boxes, 4], "float32", values=centred_anchors())
    builder = flexbuffers.Builder()
    with builder.Map():
        for key, number in {"max_detections": kept, "max_classes_per_detection": 1, "num_classes": classes}.items():
            builder.Int(key, number)
        settings = {"nms_score_threshold": 0.2, "nms_iou_threshold": 0.5}
        for key, value in {**settings, "y_scale": 10, "x_scale": 10, "h_scale": 5, "w_scale": 5}.items():
            builder.Float(key, float(value))
    shapes = {"boxes": [1, kept, 4], "classes": [1, kept], "scores": [1, kept], "count": [1]}
    outputs = [file.tensor(name, shape, "float32") for name, shape in shapes.items()]
    fed = [given[0], scores, there]
    file.custom("TFLite_Detection_PostProcess", fed, outputs, bytes(builder.Finish()))
    return file.write(path, [x], outputs)


def int8_detector(path: Path) -> Path:
    """Write a detector of one class for microcontrollers, of int8 from 8 × 8 pixels to encodings and logits."""
    from .micro_files import File

    random, pixels, boxes = np.random.default_rng(8), POSTPROCESS_SIDE**2 * 3, 3 * 16
    file = File()
    x = file.tensor("image", [1, POSTPROCESS_SIDE, POSTPROCESS_SIDE, 3], "int8", 0.5)
    row = file.tensor("row", [1, pixels], "int8", 0.5)
    file.operator("RESHAPE", [x, file.tensor("to", [2], "int32", values=[1, pixels])], row)
    given = []
    for name, values, scale in (("coded", 4, 0.05), ("logits", 2, 0.05)):
        weights = random.integers(-127, 128, (boxes * values, pixels))
        fed = [row, file.tensor(f"{name}_w", list(weights.shape), "int8", 2e-5, weights),
               file.tensor(f"{name}_b", [boxes * values], "int32", 1e-5, np.zeros(boxes * values))]  # fmt: skip
        flat = file.tensor(f"{name}_row", [1, boxes * values], "int8", scale)
        file.operator("FULLY_CONNECTED", fed, flat)
        given.append(file.tensor(name, [1, boxes, values], "int8", scale))
        to = file.tensor(f"{name}_to", [3], "int32", values=[1, boxes, values])
        file.operator("RESHAPE", [flat, to], given[-1])
    return file.write(path, [x], given)


def onnx_detector(path: Path, head: bool) -> Path:
    """Write a detector of two classes that takes (1, 3, 8, 8): rows of an open number, or a head like YOLOv8's."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random, pixels, boxes = np.random.default_rng(5), POSTPROCESS_SIDE**2 * 3, 3 * 16
    near = np.tile(anchors(4)[:16], (3, 1)) + random.normal(0, 0.01, (boxes, 4))  # three boxes at each place
    corners = (near * POSTPROCESS_SIDE).astype(np.float32)
    constants: dict[str, np.ndarray] = {
        "weights": random.normal(0, 0.0008, (pixels, 2 * boxes)).astype(np.float32),
        "shape": np.array([1, 2, boxes]),
        "corners": corners[None],
        "order": np.array([1, 0, 3, 2]),
        **{name: np.array([value]) for name, value in {"first": 0, "second": 1, "third": 2, "most": 40}.items()},
        "overlap": np.array([0.5], np.float32),
        "least": np.array([0.5], np.float32),
    }
    scores = [
        helper.make_node("Flatten", ["image"], ["row"]),
        helper.make_node("MatMul", ["row", "weights"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["likely"]),
        helper.make_node("Reshape", ["likely", "shape"], ["scores"]),
    ]
    if head:
        size = corners[:, 2:] - corners[:, :2]
        centred = np.concatenate([corners[:, :2] + size / 2, size], axis=1)[:, [1, 0, 3, 2]]
        constants["centred"] = centred.T[None].astype(np.float32)
        nodes = [*scores, helper.make_node("Concat", ["centred", "scores"], ["output0"], axis=1)]
        shape: list[int | str] = [1, 6, boxes]
    else:
        nodes = [
            *scores,
            helper.make_node("NonMaxSuppression", ["corners", "scores", "most", "overlap", "least"], ["chosen"]),
            helper.make_node("Gather", ["chosen", "second"], ["class"], axis=1),
            helper.make_node("Cast", ["class"], ["classes"], to=TensorProto.FLOAT),
            helper.make_node("Gather", ["chosen", "third"], ["place"], axis=1),
            helper.make_node("Squeeze", ["place", "second"], ["places"]),
            helper.make_node("Squeeze", ["corners", "first"], ["all"]),
            helper.make_node("Gather", ["all", "places"], ["found"], axis=0),
            helper.make_node("Gather", ["found", "order"], ["ordered"], axis=1),
            helper.make_node("GatherND", ["scores", "chosen"], ["sure"]),
            helper.make_node("Unsqueeze", ["sure", "second"], ["likelihood"]),
            helper.make_node("Concat", ["ordered", "likelihood", "classes"], ["output0"], axis=1),
        ]
        shape = ["boxes", 6]
    graph = helper.make_graph(
        nodes, "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, POSTPROCESS_SIDE, POSTPROCESS_SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
