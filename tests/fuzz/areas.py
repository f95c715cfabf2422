"""What is fuzzed: for each kind of input a whole one, how it is changed, and the command that reads it.

Each command is one that stops before a runtime or TensorFlow is started, by a mistake that it would tell of last: the
samples are missing, or nothing to calibrate with was given. So everything that reads the input runs, in this process.
In the areas of `environment` a file is really run.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from edgeproof.cli.main import explain, status
from edgeproof.core import isolated
from edgeproof.core.codec import to_json, write_json
from edgeproof.core.model import InputContract, Model, save_model
from edgeproof.core.results import Results
from edgeproof.export import sidecar
from edgeproof.train.hub.archive import unpack
from edgeproof.workflows.model_files import open_artifact

from . import data_areas, environment, seeds
from .area import OUT, Area, Inputs, write_inputs
from .content import changed
from .data_areas import NOWHERE
from .documents import STRANGERS, mutants
from .recipe_areas import recipe_bytes, recipe_fields, recipe_overrides

_MISSING = ("--data", "folder:missing")


def _arguments(box: Path, draw: random.Random) -> Inputs:
    """Names that are none, everywhere where a name may stand."""
    write_inputs(box, a_DOT_tflite=seeds.tflite(), r_DOT_toml=seeds.RECIPE, empty="")
    loop, deep = box / "loop", box / "deep"
    loop.symlink_to(loop)
    deep.symlink_to("/root/nothing/to/see")
    names = [
        "", ".", "..", "/", "~", "~nobody", "loop", "loop/a.tflite", "deep", "empty", "empty/a.onnx", "a.tflite",
        "r.toml", "missing.onnx", "x" * 300, "/".join(["x" * 200] * 30), "\x1b[31m.tflite", "\u202e.onnx",
        "\udcff.tflite", "/dev/zero", "/dev/null", "/proc/self/mem", "/proc/1/mem", "-", "--", "a\nb", "csv:",
        "idx:/dev/zero", "images:loop", "npy:a.tflite", "builtin:x", "tfds:", "package:/", "package:../x/y", "keras:x",
        "npz:a.tflite", "npz:/dev/zero", "npy:a,b", "npy:,", "parquet:r.toml", "masks:.",
        "masks:/dev/zero", "wav:.", "wav:/dev/zero", "coco:r.toml", "coco:/dev/zero,.", "folder:\udcff",
        "folder:" + "x" * 5000, "🤖" * 100,
    ]  # fmt: skip

    def name() -> str:
        return draw.choice(names)

    while True:
        yield draw.choice(
            (
                ("inspect", name()),
                ("inspect", name(), "--json"),
                ("report", name()),
                ("compare", name(), name()),
                ("bundle", name(), "--data", name(), "--out", OUT),
                ("evaluate", name(), "--data", name(), *NOWHERE),
                ("evaluate", "a.tflite", "--data", name(), *NOWHERE),
                ("export", name(), "--to", "tflite:int8", "--out", OUT, "--labels", name()),
                ("export", name(), "--to", name(), "--out", OUT),
                ("diagnose", name(), "--float", name(), "--data", name(), "--out", OUT),
                ("run", name(), "--out", OUT),
                ("run", "r.toml", "--out", OUT, "--set", f"data.source={json.dumps(name())}"),
                ("run", "r.toml", "--out", OUT, "--set", f"model.net.backbone={name()}"),
                ("evaluate", "a.tflite", "--data", "folder:missing", "--out", OUT, "--budget", f"{name()}={name()}"),
                ("evaluate", "a.tflite", "--data", "folder:missing", "--out", OUT, "--on", name()),
                ("init", f"{OUT}/r.toml", "--data", name(), "--backbone", name(), "--force"),
                ("init", f"{OUT}/r.toml", "--from", name()),
                ("docs", name()),
                (name(), name()),
            )
        )


def _tflite(box: Path, draw: random.Random) -> Inputs:
    intact = [seeds.tflite(), *(seeds.tflite(scale) for scale in (0.1, float("nan"), float("inf"), -1.0, 1e-45))]
    while True:
        content = draw.choice(intact)
        write_inputs(box, a_DOT_tflite=changed(content, draw) if draw.random() < 0.97 else content)
        yield draw.choice(
            (
                ("inspect", "a.tflite"),
                ("inspect", "a.tflite", "--json"),
                ("inspect", "a.tflite", "--json"),
                ("evaluate", "a.tflite", *_MISSING, *NOWHERE),
                ("bundle", "a.tflite", *_MISSING, "--out", OUT),
                ("export", "a.tflite", "--to", "tflite:int8", "--out", OUT),
            )
        )


def _onnx(box: Path, draw: random.Random) -> Inputs:
    intact = seeds.onnx()
    while True:
        write_inputs(box, a_DOT_onnx=changed(intact, draw))
        yield draw.choice(
            (
                ("inspect", "a.onnx"),
                ("inspect", "a.onnx", "--json"),
                ("evaluate", "a.onnx", *_MISSING, "--on", "local/litert", "--out", OUT),
                ("bundle", "a.onnx", *_MISSING, "--out", OUT),
            )
        )


def _sidecar(box: Path, draw: random.Random) -> Inputs:
    write_inputs(
        box,
        a_DOT_tflite=seeds.tflite(),
        tok__vocabulary_DOT_txt="a\nb\n",
        tok__tokenizer_DOT_json=json.dumps(seeds.TOKENIZER),
    )
    intact = to_json(
        replace(
            open_artifact(box / "a.tflite"),
            path=Path("a.tflite"),
            labels=("red", "green", "blue"),
            contract=InputContract("image", (1, 8, 8, 3)),
            answer="scores",
            tokenizer=Path("tok"),
            made_by="edgeproof",
            calibration={"count": 3, "methods": [{"method": "minmax", "error": 0.1}]},
            loads={"local/litert": "ok"},
            training={"kind": "qat", "history": [{"loss": 1.0}]},
        )
    )
    for document in mutants(intact, draw):
        text = json.dumps(document).encode()
        write_inputs(box, a_DOT_json=text if draw.random() < 0.8 else changed(text, draw))
        yield draw.choice(
            (
                ("evaluate", "a.tflite", *_MISSING, *NOWHERE),
                ("bundle", "a.tflite", *_MISSING, "--out", OUT, "--json"),
                ("diagnose", "a.tflite", "--float", "a.tflite", *_MISSING, "--out", OUT),
                ("export", "a.tflite", "--to", "tflite:int8", "--out", OUT),
            )
        )


def _model(box: Path, draw: random.Random) -> Inputs:
    folder = box / "run" / "models" / "net"
    write_inputs(folder, saved_model__saved_model_DOT_pb=seeds.saved_model("Relu", "Softmax"))
    contract = InputContract("image", (1, 8, 8, 3))
    save_model(
        Model("net", "keras:X", Path("saved_model"), "ab" * 32, ("red", "green", "blue"), contract, 2.0,
              {"val_accuracy": 0.5}, [{"loss": 1.0}], {"a": 1}, tuning={"kind": "qat", "of": "cd" * 32}),
        folder,
    )  # fmt: skip
    intact = json.loads((folder / "model.json").read_text())
    for document in mutants(intact, draw):
        text = json.dumps(document).encode()
        write_inputs(folder, model_DOT_json=text if draw.random() < 0.8 else changed(text, draw))
        yield draw.choice(
            (
                ("export", "run/models/net", "--to", "tflite:int8", "--out", OUT),
                ("export", "run", "--to", "tflite:int8", "--out", OUT),
                ("evaluate", "run/models/net", *_MISSING, *NOWHERE),
            )
        )


@cache
def _results_document() -> Any:
    from ..support.example_results import example

    results: Results = example()
    ids = {artifact.id for artifact in results.artifacts[:3]}
    results.artifacts = results.artifacts[:3]
    results.measurements = [row for row in results.measurements if row.artifact in ids]
    return json.loads(json.dumps(results.to_json()))


def _results(box: Path, draw: random.Random) -> Inputs:
    intact = _results_document()
    write_inputs(box, other__results_DOT_json=json.dumps(intact))
    for document in mutants(intact, draw):
        text = json.dumps(document).encode()
        write_inputs(box, run__results_DOT_json=text if draw.random() < 0.8 else changed(text, draw))
        yield draw.choice(
            (
                ("compare", "other", "run", "--force", "--json"),
                ("compare", "run", "other", "--force"),
                ("compare", "run/results.json", "other"),
                (
                    "compare",
                    "other",
                    "run",
                    "--force",
                    "--markdown",
                    "--fail-on",
                    "new-failures",
                    "--junit",
                    f"{OUT}/g.xml",
                ),
                ("compare", "other", "run", "--remeasure", "--fail-on", "latency > 3 %", "--json"),
                ("history", "other", "run", "--out", f"{OUT}/h.html"),
                ("history", "run", "other/results.json", "--json"),
                ("bundle", "run", *_MISSING, "--out", OUT),
            )
        )


def _report(box: Path, draw: random.Random) -> Inputs:
    """A run's report, which is written into the run's folder."""
    for document in mutants(_results_document(), draw):
        write_json(box / OUT / "results.json", document)
        yield "report", OUT, *draw.choice(((), ("--json",)))


def _saved_model(box: Path, draw: random.Random) -> Inputs:
    intact = [
        seeds.saved_model("Relu", "Softmax"),
        seeds.saved_model("ReadFile", "PyFunc"),
        seeds.saved_model("StatefulPartitionedCall", "While"),
    ]
    while True:
        write_inputs(box, m__saved_model_DOT_pb=changed(draw.choice(intact), draw))
        if draw.random() < 0.1:
            write_inputs(box, m__fingerprint_DOT_pb=draw.randbytes(30), m__assets__words_DOT_txt="a\nb")
        yield (
            "export",
            "m",
            "--to",
            "tflite:int8",
            "--out",
            OUT,
            *draw.choice(((), ("--tags", "serve"), ("--signature", "x"))),
        )


def _archive(box: Path, draw: random.Random) -> Inputs:
    names = (
        "saved_model.pb",
        "variables/variables.index",
        "../escaped",
        "/abs",
        "a/../../b",
        "x" * 300,
        "loop",
        "\x1b[31m",
    )
    while True:
        files = {"saved_model.pb": seeds.saved_model("Relu"), draw.choice(names): b"i" * 50}
        intact = seeds.archive(files)
        write_inputs(box, m_DOT_tar_DOT_gz=changed(intact, draw) if draw.random() < 0.8 else intact)
        yield "m.tar.gz", OUT


def _unpack(arguments: list[str]) -> int:
    """Unpack an archive as the process that opens models does, and end as the command would."""
    archive, out = map(Path, arguments)
    target = out / "unpacked"
    shutil.rmtree(target, ignore_errors=True)
    try:
        unpack(archive, target)
    except Exception as error:
        return explain(error)
    return 0


def _as_the_reader_does(arguments: list[str]) -> int:
    """Run the command line with the reader's work in this process, which the area has for itself."""
    call = isolated.call
    isolated.call = _called_here
    try:
        return status(arguments)
    finally:
        isolated.call = call


def _called_here(function: str, *arguments: str) -> Any:
    return isolated.decode_result(isolated.call_here(function, *arguments))


def _keras(box: Path, draw: random.Random) -> Inputs:
    weights = seeds.hdf5()
    configs = mutants(seeds.KERAS_CONFIG, draw)
    while True:
        metadata = seeds.KERAS_METADATA if draw.random() < 0.8 else next(mutants(seeds.KERAS_METADATA, draw))
        config = next(configs) if draw.random() < 0.7 else seeds.KERAS_CONFIG
        content = seeds.keras(config, metadata, weights if draw.random() < 0.9 else changed(weights, draw))
        write_inputs(box, m_DOT_keras=content if draw.random() < 0.6 else changed(content, draw))
        yield "export", "m.keras", "--to", "tflite:int8", "--out", OUT


def _hdf5(box: Path, draw: random.Random) -> Inputs:
    intact = seeds.hdf5()
    configs = mutants(seeds.KERAS_CONFIG, draw)
    while True:
        write_inputs(box, m_DOT_h5=seeds.hdf5(next(configs)) if draw.random() < 0.4 else changed(intact, draw))
        yield "export", "m.h5", "--to", "tflite:int8", "--out", OUT


def _tables(box: Path, draw: random.Random) -> Inputs:
    for name in ("a.tflite", "t.tflite"):
        (box / name).write_bytes(seeds.tflite())
    _text_sidecar(box)
    write_inputs(box, p_DOT_png=seeds.picture("PNG"), labels_DOT_txt=seeds.LABELS)
    pictures = "file,label\n" + "".join(f"p.png,class{i % 3}\n" for i in range(6))
    intact = {
        "csv": seeds.TABLE.encode(), "tsv": seeds.TABLE.replace(",", "\t").encode(), "jsonl": seeds.LINES.encode(),
        "pictures": pictures.encode(), "tags": pictures.replace("class2", "class0|class2").encode(),
    }  # fmt: skip
    while True:
        kind = draw.choice(sorted(intact))
        write_inputs(box, t_DOT_data=changed(intact[kind], draw))
        source = f"{'csv' if kind in ('pictures', 'tags') else kind}:t.data"
        columns = draw.choice(
            ((), (), ("--text-column", "label"), ("--encoding", draw.choice(("x", "utf-16", "latin-1", "idna"))))
        )
        file = "a.tflite" if kind in ("pictures", "tags") else "t.tflite"
        yield draw.choice(
            (
                ("evaluate", file, "--data", source, *columns, *NOWHERE),
                ("evaluate", file, "--data", source, *columns, *NOWHERE),
                ("init", f"{OUT}/r.toml", "--data", source.replace(":", ":../"), *columns, "--force"),
            )
        )


def _text_sidecar(box: Path, **settings: Any) -> None:
    """Write a sidecar that says t.tflite takes token ids, and a tokenizer that makes them."""
    write_inputs(
        box,
        tok__vocabulary_DOT_txt="[PAD]\n[UNK]\nword\ngood\n",
        tok__tokenizer_DOT_json=json.dumps(seeds.TOKENIZER | settings),
    )
    artifact = replace(
        open_artifact(box / "a.tflite"),
        path=Path("t.tflite"),
        labels=("class0", "class1", "class2"),
        contract=InputContract("image", (1, 8), "int32", 0, 3, kind="text"),
        tokenizer=Path("tok"),
    )
    write_json(sidecar(box / "t.tflite"), to_json(artifact))


def _tokenizer(box: Path, draw: random.Random) -> Inputs:
    for name in ("a.tflite", "t.tflite"):
        (box / name).write_bytes(seeds.tflite())
    _text_sidecar(box)
    write_inputs(box, t_DOT_csv=seeds.TABLE)
    kinds = [{"kind": kind} for kind in ("whitespace", "wordpiece", "sentencepiece", "words")]
    for document in mutants(seeds.TOKENIZER, draw, [*STRANGERS, *(kind["kind"] for kind in kinds)]):
        text = json.dumps(document).encode()
        write_inputs(box, tok__tokenizer_DOT_json=text if draw.random() < 0.8 else changed(text, draw))
        write_inputs(box, tok__vocabulary_DOT_txt=changed(b"[PAD]\n[UNK]\nword\ngood\n", draw))
        yield draw.choice(
            (
                ("evaluate", "t.tflite", "--data", "csv:t.csv", *NOWHERE),
                ("bundle", "t.tflite", *_MISSING, "--out", OUT),
            )
        )


def _labels(box: Path, draw: random.Random) -> Inputs:
    write_inputs(box, m__saved_model_DOT_pb=seeds.saved_model("Relu", "Softmax"))
    while True:
        write_inputs(box, l_DOT_txt=changed(seeds.LABELS, draw))
        yield "export", "m", "--to", "tflite:int8", "--out", OUT, "--labels", "l.txt"


AREAS = {
    area.name: area
    for area in (
        Area("recipe-bytes", 200, recipe_bytes),
        Area("recipe-fields", 200, recipe_fields),
        Area("overrides", 200, recipe_overrides),
        Area("arguments", 250, _arguments),
        Area("tflite", 300, _tflite),
        Area("onnx", 200, _onnx),
        Area("sidecar", 200, _sidecar),
        Area("model", 100, _model),
        Area("results", 150, _results),
        Area("report", 4, _report),
        Area("saved-model", 150, _saved_model),
        Area("archive", 80, _archive, entry=_unpack),
        Area("keras", 100, _keras, isolated=True, entry=_as_the_reader_does),
        Area("hdf5", 60, _hdf5, isolated=True, entry=_as_the_reader_does),
        Area("tables", 100, _tables),
        Area("tokenizer", 40, _tokenizer),
        Area("pictures", 40, data_areas.pictures),
        Area("arrays", 40, data_areas.arrays),
        Area("array-files", 40, data_areas.array_files),
        Area("masks", 40, data_areas.masks),
        Area("waves", 60, data_areas.waves),
        Area("coco", 40, data_areas.coco),
        Area("anchors", 60, data_areas.anchors),
        Area("labels", 40, _labels),
        Area("devices", 20, environment.devices, entry=environment.in_an_environment),
        Area("doctor", 8, environment.doctor, entry=environment.in_an_environment),
        Area("running-tflite", 20, environment.running_tflite, entry=environment.as_it_runs, starts=True),
        Area("running-onnx", 10, environment.running_onnx, entry=environment.as_it_runs, starts=True),
    )
}
