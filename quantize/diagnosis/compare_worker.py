"""The process that runs both files: reads a job file, writes the figures of every tensor.

It is a process of its own because a defective file can crash its runtime, and because its memory is then released.
Samples are run one by one; of each tensor only sums are kept.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.boxes import BoxReading
from ...core.codec import from_json, read_json, write_json
from ...core.errors import InputError
from ...core.model import plain_name
from ...core.pixels import as_input
from ...tflite.objects import CASTS
from ...tflite.values import Floats
from .answers import AnswerComparison
from .compared import ComparedAnswer, Powers, ratio, relative
from .compared import Floats as Floats64
from .error_stats import HIGHEST_DB, ErrorStats, decibels, weight_figures
from .graph import CHANNEL_AXIS, Graph, Op, Tensor, read_graph
from .isolate import InjectionFile, IsolatedFile, inject_errors, isolate_operators
from .matching import Matches, match
from .running import FileRunner

# Multiply-adds of all injection runs together: minutes at most on one core.
_WORK = 3e11
_MOST_INJECTED, _LEAST_INJECTED = 16, 4  # samples
# An own error that is smaller than this, relative to the signal, is not injected.
_INJECTED_DB = 60.0


@dataclass
class Row:
    """One tensor of the quantized file with its counterpart, by index, and the statistics of its error.

    `op` is the quantized file's operator, `reference_op` the position of its counterpart, -1 if it has none.
    """

    quantized: int
    reference: int
    op: Op
    kind: str
    stats: ErrorStats
    reference_op: int = -1


class Comparison:
    """Runs a quantized file and its float file side by side."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.quantized, self.reference = read_graph(Path(job["artifact"])), read_graph(Path(job["reference"]))
        self.matches: Matches = match(self.quantized, self.reference)
        self.quantized_runner = FileRunner(job["artifact"])
        self.reference_runner = FileRunner(job["reference"])
        self.shapes = self.reference_runner.shapes()
        isolated: IsolatedFile = isolate_operators(self.reference, self.shapes)
        self.isolated_inputs = isolated.inputs
        self.isolated = FileRunner(isolated.content)
        self.rows = {row.quantized: row for row in self._rows()}
        answer, classes = job.get("answer") or "", int(job.get("classes", 0))
        reading = from_json(BoxReading, job["boxes"]) if job.get("boxes") else None
        judged = [answer] if reading is None else reading.judged
        self.answer = ComparedAnswer(self.reference, judged, classes, boxes=reading is not None)
        self.effects: dict[tuple[int, str], Floats64] = {}
        self.injected_signal = np.zeros(len(self.answer.tensors))
        self.powers = Powers(len(self.answer.tensors))
        # Numbers that pass a sigmoid say yes or no.
        self.agreement = AnswerComparison(
            answer, classes, task=job.get("task", ""), sigmoids=self.answer.before == "LOGISTIC", reading=reading
        )

    # --- what is compared ---------------------------------------------------------------------------------------

    def _rows(self) -> list[Row]:
        rows = []
        for op in self.quantized.ops:
            if op.name == "DEQUANTIZE" or not op.outputs:
                continue
            for output in op.outputs:
                reference = self.matches.tensors.get(output)
                if reference is None or self.reference.tensors[reference].dtype != "FLOAT32":
                    continue
                if self.quantized.is_constant(output) or not self.quantized.is_read(output):
                    continue
                if not self.reference.is_read(reference):
                    continue
                stats = _new_stats(self.quantized.tensors[output])
                first = self.quantized.source(output) in self.quantized.inputs and op.name in CASTS
                reference_op = self.matches.ops.get(op.position, -1)
                rows.append(Row(output, reference, op, "input" if first else "activation", stats, reference_op))
        # Inputs that are stored as integers: the caller quantizes them.
        known_inputs = {row.reference for row in rows if row.kind == "input"}
        for index in self.quantized.inputs:
            reference = self.matches.tensors.get(index)
            if reference is None or reference in known_inputs or self.reference.tensors[reference].dtype != "FLOAT32":
                continue
            stats = _new_stats(self.quantized.tensors[index])
            rows.insert(0, Row(index, reference, Op(-1, "INPUT", (), (index,)), "input", stats))
        return rows

    # --- running --------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Run all samples; return the figures as a JSON-ready dictionary."""
        samples = np.load(self.job["samples"], mmap_mode="r", allow_pickle=False)
        injected = self._injected_samples(len(samples))
        injection: InjectionFile | None = None
        model: FileRunner | None = None
        for number in range(len(samples)):
            values = self._values(np.asarray(samples[number : number + 1]))
            self._run_both(values)
            errors = self._own_errors(number < injected)
            if number < injected and errors:
                if model is None:
                    tensors = list(dict.fromkeys(row.reference for row in self.rows.values()))
                    injection = inject_errors(self.reference, tensors, self.answer.tensors, self.shapes)
                    model = FileRunner(injection.content, keep=False, threads=self.job.get("threads", 1))
                if injection is not None and model is not None:
                    self._inject(model, injection, values, errors)
            _report(done=number + 1)
        return self._result(len(samples), injected)

    def _values(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return one sample by input name, in the form that the model takes."""
        feed = self.job["feed"]
        if batch.dtype.names:
            return {feed["names"].get(name, name): batch[name] for name in batch.dtype.names}
        if feed["kind"] == "image":
            batch = as_input(feed, batch).astype(np.float32)
        return {feed["input"]: batch}

    def _bound(self, graph: Graph, values: dict[str, NDArray[Any]]) -> dict[int, NDArray[Any]]:
        """Return the values by input tensor: found by the signature's name, by the tensor's, or as the only input."""
        if len(values) == len(graph.inputs) == 1:
            return {graph.inputs[0]: next(iter(values.values()))}
        places = {graph.tensors[i].name: i for i in graph.inputs}
        places |= {plain_name(n): i for n, i in places.items()}
        places |= {name: i for i, name in graph.input_names.items()}
        missing = [name for name in values if name not in places]
        if missing:
            raise InputError(
                f"{graph.path.name} has no input {missing[0]}; it has {', '.join(places)}", "give files of one model"
            )
        return {places[name]: value for name, value in values.items()}

    def _real(self, index: int) -> Floats:
        """Return a tensor of the quantized file as real values."""
        about = self.quantized.tensors[index]
        stored = self.quantized_runner.stored(index)
        if about.scale is None or about.zero_point is None or len(about.scale) != 1:
            return stored.astype(np.float32)
        return np.asarray((stored.astype(np.float32) - about.zero_point[0]) * about.scale[0], np.float32)

    def _run_both(self, values: dict[str, NDArray[Any]]) -> None:
        self.reference_runner.run(self._bound(self.reference, values))
        self.quantized_runner.run(self._bound(self.quantized, values))
        for row in self.rows.values():
            reference = self.reference_runner.stored(row.reference)
            row.stats.add(reference, self._real(row.quantized).reshape(reference.shape))
        quantized = {row.reference: index for index, row in self.rows.items()}  # of several rows the last
        exact = self.answer.values(self.reference_runner.stored)

        def real(index: int) -> NDArray[Any]:
            shape = self.reference_runner.stored(index).shape
            return self._real(quantized[index]).reshape(shape) if index in quantized else np.zeros(0)

        moved = self.answer.values(real)
        self.powers.add(exact, [two if two.size == one.size else None for one, two in zip(exact, moved, strict=True)])
        self._compare_answers()

    def _compare_answers(self) -> None:
        """Add the sample's two answers to the agreement."""
        exact = {self.reference.output_name(i): self.reference_runner.stored(i) for i in self.reference.outputs}
        self.agreement.add(exact, {self.quantized.output_name(i): self._real(i) for i in self.quantized.outputs})

    def _own_errors(self, returned: bool) -> dict[tuple[int, str], Floats]:
        """Run float operators on the quantized file's values, and add the errors to the statistics.

        Returns the errors by (tensor, part) if `returned`; part is ``activation`` or ``weight``.
        """
        inputs: dict[int, NDArray[Any]] = {}
        fed: set[int] = set()
        for row in self.rows.values():
            if row.reference_op < 0 or row.op.position in fed:
                continue
            operands = self._inputs_for(row.op, self.reference.ops[row.reference_op])
            if operands is not None:
                inputs |= operands
                fed.add(row.op.position)
        for index in self.reference.inputs:
            if self.reference.tensors[index].dtype != "FLOAT32":
                inputs[index] = self.reference_runner.stored(index)
        self.isolated.run(inputs)
        errors: dict[tuple[int, str], Floats] = {}
        for row in self.rows.values():
            quantized = self._real(row.quantized)
            if row.op.position in fed:
                exact = self.isolated.stored(row.reference)
            elif row.op.name in CASTS:
                exact = self._real(row.op.inputs[0])
            elif row.op.name == "INPUT":
                exact = self.reference_runner.stored(row.reference)
            else:
                continue
            if not np.isfinite(exact).all():
                continue
            exact = exact.reshape(self.shapes[row.reference]).astype(np.float32, copy=False)
            stored, rest = row.stats.add_own(exact, np.nan_to_num(quantized.reshape(exact.shape)))
            if returned:
                weights = bool(self._weights(row.op))
                errors[row.quantized, "activation"] = stored if weights else stored + rest
                if weights:
                    errors[row.quantized, "weight"] = rest
        return errors

    def _inputs_for(self, quantized: Op, reference: Op) -> dict[int, NDArray[Any]] | None:
        """Return the inputs of the float operator: the values that the quantized operator reads, by input tensor."""
        by_reference = {
            self.matches.tensors.get(i): i for i in quantized.inputs if i >= 0 and not self.quantized.is_constant(i)
        }
        operands = {}
        for k, index in enumerate(reference.inputs):
            place = self.isolated_inputs.get((reference.position, k))
            if place is None:
                continue
            source = by_reference.get(index)
            if source is None and k < len(quantized.inputs) and not self.quantized.is_constant(quantized.inputs[k]):
                source = quantized.inputs[k]
            if source is None or self.quantized.tensors[source].size != self.reference.tensors[index].size:
                return None
            operands[place] = np.nan_to_num(self._real(source))
        return operands

    def _weights(self, op: Op) -> list[int]:
        """Return the constants of an operator whose values quantization changes."""
        kinds = ("INT2", "INT4", "INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT32")
        weights = []
        for index in op.inputs:
            if index >= 0 and self.quantized.is_constant(index):
                tensor = self.quantized.tensors[self.quantized.source(index)]
                if tensor.dtype in kinds and (tensor.scale is not None or tensor.is_float):
                    weights.append(index)
        return weights

    # --- error injection ----------------------------------------------------------------------------------------

    def _injected_samples(self, samples: int) -> int:
        """Return the number of samples with error injection: fewer for large models."""
        runs = 2 * max(len(self.rows), 1)
        most = int(_WORK / max(runs * _multiplications(self.reference), 1))
        return min(samples, max(_LEAST_INJECTED, min(_MOST_INJECTED, most)))

    def _inject(
        self,
        model: FileRunner,
        injection: InjectionFile,
        values: dict[str, NDArray[Any]],
        errors: dict[tuple[int, str], Floats],
    ) -> None:
        """Put each error alone into the float model, and add up the error that it causes in the answer."""
        inputs = self._bound(self.reference, values)
        zeros = {place: np.zeros(self.shapes[index], np.float32) for index, place in injection.errors.items()}
        model.run(inputs | zeros)
        exact = self._injected(model, injection)
        self.injected_signal += [float((one**2).sum()) for one in exact]
        for (quantized, part), error in errors.items():
            row = self.rows[quantized]
            place = injection.errors.get(row.reference)
            if place is None:
                continue
            power, signal = float((error**2).sum()), row.stats.reference_power / max(row.stats.samples, 1)
            if (decibels(signal, power) or HIGHEST_DB) > _INJECTED_DB:
                self.effects.setdefault((quantized, part), np.zeros(len(exact)))
                continue
            model.run({place: error})
            moved = self._injected(model, injection)
            model.set({place: zeros[place]})
            powers = [float(((two - one) ** 2).sum()) for one, two in zip(exact, moved, strict=True)]
            self.effects[quantized, part] = self.effects.get((quantized, part), np.zeros(len(exact))) + powers

    def _injected(self, model: FileRunner, injection: InjectionFile) -> list[Floats64]:
        return self.answer.values(lambda index: model.stored(injection.answers[index]).copy())

    # --- the result ---------------------------------------------------------------------------------------------

    def _result(self, samples: int, injected: int) -> dict[str, Any]:
        behind = self.answer.behind()
        total = sum(relative(self.injected_signal, power) for power in self.effects.values())
        rows = []
        for row in self.rows.values():
            about = self.quantized.tensors[row.quantized]
            figures = row.stats.figures() | {
                "name": about.name,
                "kind": row.kind,
                "operator": row.op.name,
                "position": row.op.position,
                "shape": about.shape,
                "dtype": about.dtype.lower(),
            }
            rows.append(figures | self._effect(row, "activation", behind, total))
            for weight in self._weight_rows(row):
                part = self._effect(row, "weight", behind, total) if weight["main"] else {}
                rows.append(weight | part)
        computing = [op for op in self.quantized.ops if op.name not in CASTS]
        return {
            "rows": rows,
            "samples": samples,
            "followed": injected,
            "agreement": self.agreement.share,
            "agreement_by": self.agreement.by,
            "answer_snr_db": self.powers.decibels,
            "answer": self.answer.names[0],
            **({"answers": self.answer.names} if len(self.answer.names) > 1 else {}),
            "operators": len(computing),
            "quantized": sum(t.scale is not None or t.dtype == "FLOAT16" for t in self.quantized.tensors),
            "matched": dict(self.matches.how),
            "unmatched": [
                {"name": self.quantized.tensors[op.outputs[0]].name, "operator": op.name, "position": op.position}
                for op in (self.quantized.ops[place] for place in self.matches.unmatched)
                if op.outputs
            ],
            "subgraphs": len(self.quantized.model.subgraphs),
        }

    def _effect(self, row: Row, part: str, behind: set[int], total: float) -> dict[str, Any]:
        power = self.effects.get((row.quantized, part))
        if power is None or row.reference in behind:
            return {"answer_snr_db": None, "share": None}
        return {
            "answer_snr_db": ratio(self.injected_signal, power) if power.any() else None,
            "share": relative(self.injected_signal, power) / total if total else 0.0,
        }

    def _weight_rows(self, row: Row) -> list[dict[str, Any]]:
        if row.reference_op < 0 or row.quantized != row.op.outputs[0]:
            return []
        reference_op = self.reference.ops[row.reference_op]
        reference = [i for i in reference_op.inputs if i >= 0 and self.reference.is_constant(i)]
        rows = []
        for index in self._weights(row.op):
            stored = self.quantized.tensors[self.quantized.source(index)]
            values = self.quantized.constant(index)
            same = [i for i in reference if self.reference.tensors[i].size == stored.size]
            if stored.dtype == "FLOAT32" or not same:
                continue
            place = row.op.inputs.index(index)
            other = (
                reference_op.inputs[place]
                if place < len(reference_op.inputs) and reference_op.inputs[place] in same
                else same[0]
            )
            exact = self.reference.constant(other).reshape(values.shape)
            axis = CHANNEL_AXIS.get(row.op.name, 0)
            figures = weight_figures(exact, values, min(axis, max(values.ndim - 1, 0)), stored.limits)
            largest = index == max(self._weights(row.op), key=lambda i: self.quantized.tensors[i].size)
            own = row.stats.figures()
            rows.append(
                figures
                | {
                    "name": stored.name,
                    "kind": "weight",
                    "operator": row.op.name,
                    "position": row.op.position,
                    "shape": stored.shape,
                    "dtype": stored.dtype.lower(),
                    "scales": 0 if stored.scale is None else len(stored.scale),
                    "own_snr_db": own["rest_snr_db"] if largest else None,
                    "main": largest,
                }
            )
        return rows


def _new_stats(tensor: Tensor) -> ErrorStats:
    """Return empty statistics of a quantized tensor, with the range and the number of steps that it can store."""
    if tensor.limits is None:
        return ErrorStats()
    low, high = tensor.integer_range
    return ErrorStats(tensor.limits, high - low)


def _multiplications(graph: Graph) -> float:
    """Return the approximate number of multiply-adds of one run."""
    total = 0.0
    for op in graph.ops:
        outputs = graph.tensors[op.outputs[0]].size if op.outputs else 0
        total += outputs
        kernels = [graph.tensors[i] for i in op.inputs[1:2] if i >= 0 and graph.is_constant(i)]
        if kernels and op.name in CHANNEL_AXIS:
            kernel = kernels[0]
            total += outputs * kernel.size / max(kernel.shape[CHANNEL_AXIS[op.name]], 1)
    return total


def _report(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201


def main() -> None:
    """Run the job file that the command line names, and write its ``out``. Print an InputError to stdout as JSON."""
    job = read_json(Path(sys.argv[1]))
    try:
        write_json(Path(job["out"]), Comparison(job).run())
    except InputError as error:
        _report(error=error.message, remedy=error.remedy)
        sys.exit(2)


if __name__ == "__main__":
    main()
