"""Runs this bundle's model with numpy and one runtime, nothing else. example.py and verify.py use it; so may you.

Works with Python 3.7 or newer. What the file takes and gives is read from bundle.json beside this file.
"""

import importlib
import json
import os
import sys

import numpy

HERE = os.path.dirname(os.path.abspath(__file__))

# Runtime, and the module that has its interpreter. The first that is installed is taken.
TFLITE = (
    ("litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow"),
)
ONNX = (("onnxruntime", "onnxruntime"),)


# What runtimes are called in sentences.
NAMES = {"litert": "LiteRT", "tensorflow": "TensorFlow", "onnxruntime": "ONNX Runtime"}
# The packages of those that installers know by another name.
DISTRIBUTIONS = {"litert": "ai-edge-litert"}


class BundleError(Exception):
    """The model cannot be used here; the message says why, and what to do."""


class Model:
    """The bundle's file, loaded and ready to run. `runtime` is its runtime's name, `version` that one's version.

    `gives` says what `run` returns: ``scores`` of classes, ``tags``, one ``value``, a ``picture``, ``values``, or of
    ``boxes`` one output of several. Raises BundleError where the file does not load.
    """

    def __init__(self, folder=HERE, runtime=""):
        self.folder = folder
        with open(os.path.join(folder, "bundle.json"), encoding="utf-8") as stream:
            self.about = json.load(stream)
        self.labels = self.about["labels"]
        path = os.path.join(folder, self.about["file"]["name"])
        self.inputs_about = self.about["file"]["inputs"]
        self.output_about = self.about["file"]["outputs"][self.about["file"]["answer"]]
        self.runtime, module = find_runtime(ONNX if self.about["file"]["format"] == "onnx" else TFLITE, runtime)
        self.version = getattr(module, "__version__", "") or version_of(self.runtime)
        self.gives = self.about["file"].get("answer_kind", "scores")
        load = self._onnx if self.runtime == "onnxruntime" else self._tflite
        try:
            self._run = load(module, path)
        except Exception as error:  # a runtime may refuse a file in any way
            message = "{}: {}".format(type(error).__name__, error)
            raise BundleError(too_old(self.about, self.runtime, self.version) or "the file does not run: " + message)
        self._tokenizer = None

    def _tflite(self, module, path):
        new = module.lite.Interpreter if self.runtime == "tensorflow" else module.Interpreter
        interpreter = new(path, num_threads=1)
        interpreter.allocate_tensors()
        places = [about["index"] for about in interpreter.get_input_details()]
        outputs = [about["index"] for about in interpreter.get_output_details()]

        def run(stored):
            for place, value in zip(places, stored):
                interpreter.set_tensor(place, value)
            interpreter.reset_all_variables()  # a fused LSTM or RNN keeps its state; samples are independent
            interpreter.invoke()
            return [interpreter.get_tensor(output) for output in outputs]

        return run

    def _onnx(self, module, path):
        options = module.SessionOptions()
        # Without it, x86 processors that lack VNNI cut off sums of products of 8-bit numbers, and answer wrongly.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            session = module.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception:  # ONNX Runtime 1.32 refuses some files with the option: two nodes share an int8 tensor
            options.add_session_config_entry("session.x64quantprecision", "0")
            session = module.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        return lambda stored: session.run(None, dict(zip(names, stored)))

    def run(self, stored):
        """Return the answer, (values,) float32, to one input for each of the file's, as the file stores them."""
        return self.outputs(stored)[self.about["file"]["answer"]].astype("float32").reshape(-1)

    def outputs(self, stored):
        """Return all of the file's outputs, each as it is shaped, real values where it is quantized."""
        stored_outputs = self._run([numpy.asarray(value) for value in stored])
        return [real(values, about) for values, about in zip(stored_outputs, self.about["file"]["outputs"])]

    def prepare(self, sample):
        """Return what the file is fed for one sample.

        A sample is a picture (height, width, channels) uint8 of the file's size, a text, or a list with the values of
        each of the file's inputs, in its order and without the batch.
        """
        contract = self.about["contract"]
        roles = [about["role"] for about in self.inputs_about]
        if roles == ["pixels"]:
            values = {"pixels": numpy.asarray(sample)[None]}
            if contract["colour"] == "BGR":
                values["pixels"] = numpy.ascontiguousarray(values["pixels"][..., ::-1])
            if contract.get("mean") or contract.get("std"):
                steps, lows = by_channel(contract)
                values["pixels"] = values["pixels"].astype("float32") * steps + lows
            elif (contract["low"], contract["high"]) != (0.0, 255.0):
                step = (contract["high"] - contract["low"]) / 255.0
                values["pixels"] = (values["pixels"].astype("float32") * step + contract["low"]).astype("float32")
            if contract["shape"][3] not in (1, 3, 4):  # the channels come first: NCHW
                values["pixels"] = values["pixels"].transpose(0, 3, 1, 2)
        elif "ids" in roles:
            names = dict(zip(self.tokenizer().names, ("ids", "lengths")))
            fed = self.tokenizer().feed(sample)
            values = {names.get(name, name): numpy.array(value, "int32") for name, value in fed.items()}
        else:
            pairs = [(numpy.asarray(part), about) for part, about in zip(sample, self.inputs_about)]
            return [quantize(p if p.ndim == len(about["shape"]) else p[None], about) for p, about in pairs]
        return [quantize(values[role], about) for role, about in zip(roles, self.inputs_about)]

    def tokenizer(self):
        """Return what makes token ids from a text; its code is in the folder tokenizer/."""
        if self._tokenizer is None:
            from importlib import util

            folder = os.path.join(self.folder, "tokenizer")
            spec = util.spec_from_file_location("bundle_tokenizer", os.path.join(folder, "tokenizer.py"))
            code = util.module_from_spec(spec)
            sys.modules["bundle_tokenizer"] = code  # where its dataclasses look themselves up
            spec.loader.exec_module(code)
            self._tokenizer = code.open_tokenizer(folder)
        return self._tokenizer

    def classify(self, sample, count=3):
        """Return the `count` highest classes of a sample: a list of (label, score)."""
        scores = self.run(self.prepare(sample))
        best = numpy.argsort(-scores, kind="stable")[:count]
        return [(self.labels[i] if i < len(self.labels) else "class {}".format(i), float(scores[i])) for i in best]


def by_channel(contract):
    """Return what each channel's pixels are multiplied by, and what is then added: (value - mean) / std."""
    step = (contract["high"] - contract["low"]) / 255.0
    mean, std = (numpy.array(contract.get(name) or default, "float64") for name, default in (("mean", 0), ("std", 1)))
    lows = (contract["low"] - mean) / std
    return (step / std).astype("float32"), lows.astype("float32")


def quantize(values, about):
    """Return real values as the file stores them: value = scale x (stored - zero_point)."""
    dtype = numpy.dtype(about["dtype"])
    if dtype.kind not in "iu" or not about["scale"]:
        return values.astype(dtype)
    limits = numpy.iinfo(dtype)
    stored = numpy.round(values.astype("float32") / numpy.float32(about["scale"])) + about["zero_point"]
    return numpy.clip(stored, limits.min, limits.max).astype(dtype)


def real(values, about):
    """Return the real values of an output: value = scale x (stored - zero_point)."""
    if not about["scale"]:
        return values
    return (values.astype("float32") - about["zero_point"]) * numpy.float32(about["scale"])


def numbers(version):
    """Return a version as numbers that can be compared; None where it is none."""
    parts = version.split("+")[0].split(".")
    return [int(part) for part in parts] if all(part.isdigit() for part in parts) else None


def is_older(version, needed):
    """Return whether a version is known to be older than the one that is needed."""
    installed, required = numbers(version), numbers(needed)
    return bool(installed and required and installed < required)


def too_old(about, runtime, version):
    """Return which version the file needs, and which file beside it runs on this one; empty where it is new enough."""
    needed = about["file"].get("needs", {}).get(runtime, "")
    if not needed or not is_older(version, needed):
        return ""
    name = NAMES.get(runtime, runtime)
    words = "the file needs {} {} or newer, and {} is installed".format(name, needed, version)
    others = [other for other in about.get("siblings", []) if other["format"] == about["file"]["format"]]
    for other in others:
        oldest = other["needs"].get(runtime, "")
        if oldest and not is_older(version, oldest):
            return "{}. Update it, or take {}, which was made beside this file and needs {} {}".format(
                words, other["name"], name, oldest
            )
    return "{}. Update it; no file that was made beside this one runs on it".format(words)


def find_runtime(runtimes, asked=""):
    """Return (name, module) of the runtime called `asked`, or of the first that is installed."""
    for name, module in runtimes:
        if asked in ("", name):
            try:
                return name, importlib.import_module(module)
            except ImportError:
                continue
    names = [name for name, _ in runtimes]
    raise BundleError("no runtime: install one of {} (looked for: {})".format(", ".join(names), asked or "any"))


def version_of(runtime):
    """Return the version of an installed runtime; empty if it is not known."""
    try:
        from importlib import metadata

        return metadata.version(DISTRIBUTIONS.get(runtime, runtime))
    except Exception:  # Python 3.7 has no such module, and a runtime built from source no such record
        return ""
