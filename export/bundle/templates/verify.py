"""Replays the golden vectors on this device: does the file answer here as it did where the bundle was made?

    python verify.py [--runtime NAME]        exit status 0: it does; 1: it does not, and what differs is printed

Needs numpy and one runtime: ai-edge-litert, tflite-runtime or tensorflow for .tflite, onnxruntime for .onnx. Checks

1. that every file is the one that was bundled (SHA256SUMS),
2. that pictures and texts become the inputs that they were (where the model takes those),
3. that the answers to those inputs are the golden ones, to within the tolerance of golden.json (closeness.py).
"""

import argparse
import hashlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SHOWN = 10
NEEDED = ("bundle.json", "golden.json", "golden.npz", "model.py", "closeness.py")


def check_files(folder):
    """Return what is wrong with the bundle's files: changed ones and missing ones."""
    wrong = []
    path_of_sums = os.path.join(folder, "SHA256SUMS")
    if not os.path.isfile(path_of_sums):
        return ["SHA256SUMS is missing"]
    with open(path_of_sums, encoding="utf-8", errors="replace") as stream:
        lines = [line.rstrip("\n").partition("  ") for line in stream if line.strip()]
    listed = [name for _, _, name in lines]
    wrong += ["SHA256SUMS does not list {}".format(name) for name in NEEDED if name not in listed]
    for expected, _, name in lines:
        path = os.path.join(folder, *name.split("/"))
        if not os.path.isfile(path):
            wrong.append("{} is missing".format(name))
            continue
        digest = hashlib.sha256()
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
        if digest.hexdigest() != expected:
            wrong.append("{} is not the file that was bundled".format(name))
    return wrong


def replay(model, golden, arrays):
    """Print how far the answers are from the golden ones, and return what is wrong, a line each."""
    import numpy
    from closeness import distances, flipped
    from closeness import wrong as wrong_answers

    count = len(model.inputs_about)
    samples = golden["texts"] or (arrays["samples"] if "samples" in arrays.files else [])
    wrong, expected, answers = [], [], []
    for index in range(golden["count"]):
        stored = [arrays["input_{}".format(k)][index] for k in range(count)]
        if len(samples):
            prepared = model.prepare(samples[index])
            for about, ours, theirs in zip(model.inputs_about, prepared, stored):
                if ours.shape != theirs.shape or not numpy.array_equal(ours, theirs):
                    wrong.append("sample {}: the {} are prepared otherwise here".format(index, about["role"]))
        known, answer = arrays["outputs"][index], model.run(stored)
        if answer.shape != known.shape or not numpy.isfinite(answer).all():
            wrong.append("sample {}: the answer is {}, expected {} finite values".format(index, answer, known.size))
            continue
        expected.append(known)
        answers.append(answer)
    if not answers:
        return wrong
    expected, answers = numpy.array(expected), numpy.array(answers)
    tolerance, decision = golden["tolerance"], golden["decision"]
    away = distances(expected, answers, tolerance)
    if decision["kind"]:
        others, _, decisions = flipped(expected, answers, decision, tolerance)
        words = (
            {"top": "top classes", "yes": "answers of yes or no"}[decision["kind"]] if not decision["is_map"] else ""
        )
        print("{} of {} {} are the same".format(decisions - others, decisions, words or "pixels' classes"))
    if decision["kind"] != "top":
        near = int((away <= tolerance["most"]).sum())
        print("{} of {} answers are the golden ones, to within the tolerance".format(near, golden["count"]))
    line = "difference: {:.3g} at most; of the golden answers' spread {:.3g} in the median (tolerated {:.3g}), "
    line += "{:.3g} over all (tolerated {:.3g}), {:.3g} at most (tolerated {:.3g})"
    figures = [float(numpy.abs(answers - expected).max()), float(numpy.median(away)), tolerance["median"]]
    figures += [float(numpy.sqrt((away**2).mean())), tolerance["all"], float(away.max()), tolerance["most"]]
    print(line.format(*figures))
    return wrong + wrong_answers(expected, answers, decision, tolerance)


def main():
    """Check, print what differs, and end with status 0 or 1."""
    parser = argparse.ArgumentParser(description="Replay this bundle's golden vectors on this device.")
    parser.add_argument("--runtime", default="", help="litert, tflite-runtime, tensorflow or onnxruntime")
    runtime = parser.parse_args().runtime
    wrong = check_files(HERE)
    verdict = "this is not the bundle that was made: copy it again, whole"
    if not wrong:  # only files that are what they should be are run
        verdict = "this device answers otherwise"
        try:
            import numpy
            from model import BundleError, Model

            model = Model(runtime=runtime)
            with open(os.path.join(HERE, "golden.json"), encoding="utf-8") as stream:
                golden = json.load(stream)
            with numpy.load(os.path.join(HERE, "golden.npz"), allow_pickle=False) as arrays:
                print("{} {}: {} golden vectors".format(model.runtime, model.version, golden["count"]))
                wrong = replay(model, golden, arrays)
        except ImportError as error:
            wrong, verdict = ["{}: install it".format(error)], "this device cannot be checked"
        except BundleError as error:
            wrong = [str(error)]
        except Exception as error:  # a runtime may fail in any way while it runs
            wrong = ["the file does not run: {}: {}".format(type(error).__name__, error)]
    for line in wrong[:SHOWN]:
        print("WRONG  {}".format(line))
    if len(wrong) > SHOWN:
        print("…and {} more".format(len(wrong) - SHOWN))
    print(verdict if wrong else "this device answers as it should")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
