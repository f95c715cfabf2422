"""The process that runs both files: one job file in, the figures of every tensor out.

A process of its own, because a file that is wrong can take its runtime down, and because memory is then given back.
Samples pass one by one; what is kept of a tensor are sums.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.codec import read_json, write_json
from ...core.errors import InputError
from ...core.model import sample_shape
from ...tasks.agreement import Agreement
from ...tasks.classification import Classification
from ...tflite.objects import CASTS
from .error_stats import HIGHEST_DB, Sums, decibels, weight_figures
from .graph import CHANNEL_AXIS, Floats, Graph, Op, read_graph
from .isolate import Apart, Disturbed, disturb, take_apart
from .matching import Matches, match
from .running import Running

# Multiply-adds that the disturbed runs may take in all: minutes at most on one core.
_WORK = 3e11
_MOST_DISTURBED, _LEAST_DISTURBED = 16, 4
# An own error below this share of the signal is not followed to the answer.
_FOLLOWED_DB = 60.0
_SOFT = ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC")


@dataclass
class Row:
    """One tensor of the quantized file and its partner, with what is summed over samples."""

    ours: int
    theirs: int
    op: Op
    kind: str
    sums: Sums
    partner: int = -1
    followed: bool = False


class Comparison:
    """Runs a quantized file and its float file side by side."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.ours, self.theirs = read_graph(Path(job["artifact"])), read_graph(Path(job["reference"]))
        self.matches: Matches = match(self.ours, self.theirs)
        self.quantized = Running(job["artifact"])
        self.exact = Running(job["reference"])
        self.shapes = self.exact.shapes()
        apart: Apart = take_apart(self.theirs, self.shapes)
        self.apart_inputs = apart.inputs
        self.apart = Running(apart.content)
        self.rows = {row.ours: row for row in self._rows()}
        self.answer = self._answer()
        self.effects: dict[tuple[int, str], float] = {}
        self.signal = 0.0
        self.total_error = 0.0
        self.whole_signal = 0.0
        self.agreement: Agreement | None = None

    # --- what is compared ---------------------------------------------------------------------------------------

    def _rows(self) -> list[Row]:
        rows = []
        for op in self.ours.ops:
            if op.name == "DEQUANTIZE" or not op.outputs:
                continue
            for output in op.outputs:
                theirs = self.matches.tensors.get(output)
                if theirs is None or self.theirs.tensors[theirs].dtype != "FLOAT32":
                    continue
                if self.ours.is_constant(output):
                    continue
                stored = self.ours.tensors[output]
                sums = Sums(stored.limits)
                if stored.limits is not None:
                    low, high = stored.integer_range
                    sums.steps = high - low
                first = self.ours.source(output) in self.ours.inputs and op.name in CASTS
                partner = self.matches.ops.get(op.position, -1)
                rows.append(Row(output, theirs, op, "input" if first else "activation", sums, partner))
        # Inputs that are stored as integers are quantized by the caller.
        read = {row.theirs for row in rows if row.kind == "input"}
        for index in self.ours.inputs:
            theirs = self.matches.tensors.get(index)
            if theirs is None or theirs in read or self.theirs.tensors[theirs].dtype != "FLOAT32":
                continue
            stored = self.ours.tensors[index]
            sums = Sums(stored.limits)
            if stored.limits is not None:
                low, high = stored.integer_range
                sums.steps = high - low
            rows.insert(0, Row(index, theirs, Op(-1, "INPUT", (), (index,)), "input", sums))
        return rows

    def _answer(self) -> int:
        """Return the float file's tensor that is judged: the answer, before a softmax that hides differences."""
        wanted = self.job.get("answer") or ""
        named = {name: index for index, name in self.theirs.output_names.items()}
        index = named.get(wanted, self.theirs.outputs[0])
        while (op := self.theirs.producer.get(index)) is not None and op.name in (*_SOFT, "RESHAPE", *CASTS):
            index = op.inputs[0]
            if op.name in _SOFT:
                break
        return index

    # --- running --------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Run all samples; return the figures, JSON-ready."""
        samples = np.load(self.job["samples"], mmap_mode="r", allow_pickle=False)
        followed = self._followed(len(samples))
        disturbed: Disturbed | None = None
        model: Running | None = None
        for number in range(len(samples)):
            values = self._values(np.asarray(samples[number : number + 1]))
            self._both(values)
            errors = self._own(number < followed)
            if number < followed and errors:
                if model is None:
                    places = [row.theirs for row in self.rows.values()]
                    disturbed = disturb(self.theirs, list(dict.fromkeys(places)), self.answer, self.shapes)
                    model = Running(disturbed.content, keep=False, threads=self.job.get("threads", 1))
                if disturbed is not None and model is not None:
                    self._follow(model, disturbed, values, errors)
            _say(done=number + 1)
        return self._result(len(samples), followed)

    def _values(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return one sample by input name, as the model takes it."""
        feed = self.job["feed"]
        if batch.dtype.names:
            return {feed["names"].get(name, name): batch[name] for name in batch.dtype.names}
        if feed["kind"] == "image":
            low, high = feed["low"], feed["high"]
            batch = batch.astype(np.float32)
            if (low, high) != (0.0, 255.0):
                batch = batch * np.float32((high - low) / 255.0) + np.float32(low)
        return {feed["input"]: batch}

    def _bound(self, graph: Graph, values: dict[str, NDArray[Any]]) -> dict[int, NDArray[Any]]:
        """Return the values by input tensor: by the signature's name, the tensor's own, or as the only one."""
        if len(values) == len(graph.inputs) == 1:
            return {graph.inputs[0]: next(iter(values.values()))}
        places = {graph.tensors[i].name: i for i in graph.inputs}
        places |= {n.removeprefix("serving_default_").removesuffix(":0"): i for n, i in places.items()}
        places |= {name: i for i, name in graph.input_names.items()}
        missing = [name for name in values if name not in places]
        if missing:
            raise InputError(
                f"{graph.path.name} has no input {missing[0]}; it has {', '.join(places)}", "give files of one model"
            )
        return {places[name]: value for name, value in values.items()}

    def _real(self, index: int) -> Floats:
        """Return a tensor of the quantized file as real values."""
        about = self.ours.tensors[index]
        stored = self.quantized.stored(index)
        if about.scale is None or about.zero_point is None or len(about.scale) != 1:
            return stored.astype(np.float32)
        return np.asarray((stored.astype(np.float32) - about.zero_point[0]) * about.scale[0], np.float32)

    def _both(self, values: dict[str, NDArray[Any]]) -> None:
        self.exact.run(self._bound(self.theirs, values))
        self.quantized.run(self._bound(self.ours, values))
        for row in self.rows.values():
            theirs = self.exact.stored(row.theirs)
            row.sums.add(theirs, self._real(row.ours).reshape(theirs.shape))
        found = next((i for i in reversed(list(self.rows)) if self.rows[i].theirs == self.answer), None)
        theirs = self.exact.stored(self.answer)
        exact = _centred(theirs)
        self.whole_signal += float((exact**2).sum())
        if found is not None:
            ours = self._real(found).reshape(theirs.shape)
            self.total_error += float(((_centred(ours) - exact) ** 2).sum())
        self._agree()

    def _agree(self) -> None:
        """Compare the answers that the files give."""
        wanted = self.job.get("answer") or ""
        places = []
        for graph in (self.ours, self.theirs):
            named = {name: index for index, name in graph.output_names.items()}
            places.append(named.get(wanted, graph.outputs[0]))
        ours, theirs = self._real(places[0]), self.exact.stored(places[1])
        if ours.size == theirs.size:
            if self.agreement is None:
                task = Classification(int(self.job.get("classes", 0)))
                self.agreement = task.agreement(sample_shape(theirs.shape))
            self.agreement.add(theirs.reshape(1, -1), np.nan_to_num(ours.reshape(1, -1)))

    def _own(self, wanted: bool) -> dict[tuple[int, str], Floats]:
        """Run float operators on the quantized file's own values; return the errors by (tensor, part)."""
        inputs: dict[int, NDArray[Any]] = {}
        fed: set[int] = set()
        for row in self.rows.values():
            if row.partner < 0 or row.op.position in fed:
                continue
            given = self._inputs_for(row.op, self.theirs.ops[row.partner])
            if given is not None:
                inputs |= given
                fed.add(row.op.position)
        for index in self.theirs.inputs:
            if self.theirs.tensors[index].dtype != "FLOAT32":
                inputs[index] = self.exact.stored(index)
        self.apart.run(inputs)
        errors: dict[tuple[int, str], Floats] = {}
        for row in self.rows.values():
            ours = self._real(row.ours)
            if row.op.position in fed:
                exact = self.apart.stored(row.theirs)
            elif row.op.name in CASTS:
                exact = self._real(row.op.inputs[0])
            elif row.op.name == "INPUT":
                exact = self.exact.stored(row.theirs)
            else:
                continue
            if not np.isfinite(exact).all():
                continue
            exact = exact.reshape(self.shapes[row.theirs]).astype(np.float32, copy=False)
            stored, rest = row.sums.add_own(exact, np.nan_to_num(ours.reshape(exact.shape)))
            if wanted:
                weights = bool(self._weights(row.op))
                errors[row.ours, "activation"] = stored if weights else stored + rest
                if weights:
                    errors[row.ours, "weight"] = rest
        return errors

    def _inputs_for(self, ours: Op, theirs: Op) -> dict[int, NDArray[Any]] | None:
        """Return what the float operator is given: the values that ours read, tensor by tensor."""
        by_partner = {self.matches.tensors.get(i): i for i in ours.inputs if i >= 0 and not self.ours.is_constant(i)}
        given = {}
        for k, index in enumerate(theirs.inputs):
            place = self.apart_inputs.get((theirs.position, k))
            if place is None:
                continue
            source = by_partner.get(index)
            if source is None and k < len(ours.inputs) and not self.ours.is_constant(ours.inputs[k]):
                source = ours.inputs[k]
            if source is None or self.ours.tensors[source].size != self.theirs.tensors[index].size:
                return None
            given[place] = np.nan_to_num(self._real(source))
        return given

    def _weights(self, op: Op) -> list[int]:
        """Return the constants of an operator that hold numbers which quantization changes."""
        kinds = ("INT2", "INT4", "INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT32")
        found = []
        for index in op.inputs:
            if index >= 0 and self.ours.is_constant(index):
                tensor = self.ours.tensors[self.ours.source(index)]
                if tensor.dtype in kinds and (tensor.scale is not None or tensor.is_float):
                    found.append(index)
        return found

    # --- one error alone ----------------------------------------------------------------------------------------

    def _followed(self, samples: int) -> int:
        """Return on how many samples single errors are followed to the answer: fewer on large models."""
        runs = 2 * max(len(self.rows), 1)
        most = int(_WORK / max(runs * _multiplications(self.theirs), 1))
        return min(samples, max(_LEAST_DISTURBED, min(_MOST_DISTURBED, most)))

    def _follow(
        self,
        model: Running,
        disturbed: Disturbed,
        values: dict[str, NDArray[Any]],
        errors: dict[tuple[int, str], Floats],
    ) -> None:
        """Put each error alone into the float model, and add up how far that moves the answer."""
        inputs = self._bound(self.theirs, values)
        zeros = {place: np.zeros(self.shapes[index], np.float32) for index, place in disturbed.disturbances.items()}
        model.run(inputs | zeros)
        exact = _centred(model.stored(disturbed.answer).copy())
        self.signal += float((exact**2).sum())
        for (ours, part), error in errors.items():
            row = self.rows[ours]
            place = disturbed.disturbances.get(row.theirs)
            if place is None:
                continue
            power, reference = float((error**2).sum()), row.sums.float_power / max(row.sums.samples, 1)
            if (decibels(reference, power) or HIGHEST_DB) > _FOLLOWED_DB:
                self.effects.setdefault((ours, part), 0.0)
                continue
            model.run({place: error})
            moved = _centred(model.stored(disturbed.answer)) - exact
            model.set({place: zeros[place]})
            self.effects[ours, part] = self.effects.get((ours, part), 0.0) + float((moved**2).sum())

    # --- the result ---------------------------------------------------------------------------------------------

    def _result(self, samples: int, followed: int) -> dict[str, Any]:
        behind = self._behind_answer()
        total = sum(self.effects.values())
        rows = []
        for row in self.rows.values():
            about = self.ours.tensors[row.ours]
            found = row.sums.figures() | {
                "name": about.name,
                "kind": row.kind,
                "operator": row.op.name,
                "position": row.op.position,
                "shape": about.shape,
                "dtype": about.dtype.lower(),
            }
            rows.append(found | self._effect(row, "activation", behind, total))
            for weight in self._weight_rows(row):
                part = self._effect(row, "weight", behind, total) if weight["main"] else {}
                rows.append(weight | part)
        computing = [op for op in self.ours.ops if op.name not in CASTS]
        return {
            "rows": rows,
            "samples": samples,
            "followed": followed,
            "agreement": self.agreement.share if self.agreement else None,
            "agreement_by": self.agreement.by if self.agreement else "",
            "answer_snr_db": decibels(self.whole_signal, self.total_error) if self.whole_signal else None,
            "answer": self.theirs.tensors[self.answer].name,
            "operators": len(computing),
            "quantized": sum(t.scale is not None or t.dtype == "FLOAT16" for t in self.ours.tensors),
            "matched": dict(self.matches.how),
            "unmatched": [
                {"name": self.ours.tensors[op.outputs[0]].name, "operator": op.name, "position": op.position}
                for op in (self.ours.ops[place] for place in self.matches.alone)
                if op.outputs
            ],
            "subgraphs": len(self.ours.model.subgraphs),
        }

    def _effect(self, row: Row, part: str, behind: set[int], total: float) -> dict[str, Any]:
        power = self.effects.get((row.ours, part))
        if power is None or row.theirs in behind:
            return {"answer_snr_db": None, "share": None}
        return {
            "answer_snr_db": decibels(self.signal, power) if power else None,
            "share": power / total if total else 0.0,
        }

    def _behind_answer(self) -> set[int]:
        """Return the float tensors that come after the answer: what disturbs them cannot show there."""
        found = {self.answer}
        for op in self.theirs.ops:
            if found.intersection(op.inputs):
                found.update(op.outputs)
        return found - {self.answer}

    def _weight_rows(self, row: Row) -> list[dict[str, Any]]:
        if row.partner < 0 or row.ours != row.op.outputs[0]:
            return []
        partner = self.theirs.ops[row.partner]
        theirs = [i for i in partner.inputs if i >= 0 and self.theirs.is_constant(i)]
        rows = []
        for index in self._weights(row.op):
            stored = self.ours.tensors[self.ours.source(index)]
            values = self.ours.constant(index)
            same = [i for i in theirs if self.theirs.tensors[i].size == stored.size]
            if stored.dtype == "FLOAT32" or not same:
                continue
            place = row.op.inputs.index(index)
            other = partner.inputs[place] if place < len(partner.inputs) and partner.inputs[place] in same else same[0]
            exact = self.theirs.constant(other).reshape(values.shape)
            axis = CHANNEL_AXIS.get(row.op.name, 0)
            figures = weight_figures(exact, values, min(axis, max(values.ndim - 1, 0)), stored.limits)
            largest = index == max(self._weights(row.op), key=lambda i: self.ours.tensors[i].size)
            own = row.sums.figures()
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


def _centred(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return an answer less its mean: what a softmax, and the choice of a class, cannot see is no error."""
    flat = np.nan_to_num(np.asarray(values, np.float64).reshape(-1))
    return flat - flat.mean() if flat.size > 1 else flat


def _multiplications(graph: Graph) -> float:
    """Return how many multiply-adds one run takes, about."""
    total = 0.0
    for op in graph.ops:
        made = graph.tensors[op.outputs[0]].size if op.outputs else 0
        total += made
        kernels = [graph.tensors[i] for i in op.inputs[1:2] if i >= 0 and graph.is_constant(i)]
        if kernels and op.name in CHANNEL_AXIS:
            kernel = kernels[0]
            total += made * kernel.size / max(kernel.shape[CHANNEL_AXIS[op.name]], 1)
    return total


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201


def main() -> None:
    """Do the job in the file named on the command line; write its ``out``. What a person can mend goes to stdout."""
    job = read_json(Path(sys.argv[1]))
    try:
        write_json(Path(job["out"]), Comparison(job).run())
    except InputError as error:
        _say(error=error.message, remedy=error.remedy)
        sys.exit(2)


if __name__ == "__main__":
    main()
