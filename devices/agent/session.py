"""A file in a runtime: what all of them share."""

import re
from typing import Any, Dict, List

from .errors import Unsupported
from .values import dequantize, listed, pick


class Session:
    """A file in a runtime. `open` sets `inputs`, the runtime's description of each input by name.

    `stateful` means that a run may depend on earlier runs, until the file is opened again. `on_cpu` is False for an
    accelerator, which then says by `placement` what it ran.
    """

    inputs: Dict[str, Any]
    stateful = False
    on_cpu = True
    sizes: List[int]

    def judged(self, job: Dict[str, Any], names: List[str]) -> List[str]:
        """Return which of the outputs called `names` are reported, and keep how many values of each."""
        several = job.get("answers") or []
        self.sizes = [size for _, size in several]
        return [pick(name, names) for name in ([name for name, _ in several] or [job.get("answer", "")])]

    def joined(self, outputs: List[Any], scales: List[Any]) -> Any:
        """Return the reported outputs, each with its scale and zero point, as real values: (values,) float32."""
        import numpy

        values = [dequantize(outputs[i], *scales[i]) for i in range(len(scales))]
        if not self.sizes:
            return values[0]
        for i, size in enumerate(self.sizes):
            if values[i].size > size:
                raise Unsupported("an output holds {} values, and at most {} are judged".format(values[i].size, size))
            values[i] = numpy.pad(values[i], (0, size - values[i].size))
        return numpy.concatenate(values)

    def open(self, job: Dict[str, Any]) -> None:
        """Read the file and make it ready to run."""
        raise NotImplementedError

    def forget(self, job: Dict[str, Any]) -> None:
        """Reset the state, so that the next run does not depend on earlier ones."""
        if self.stateful:
            self.open(job)

    def parts(self) -> Dict[str, float]:
        """Return the milliseconds of the last run's parts, where the runtime lets them be told apart."""
        return {}

    def figures(self) -> Dict[str, Any]:
        """Return what the runtime tells of the file after a run, beside the figures of all runtimes."""
        return {}

    def resize(self, batch: int) -> None:
        """Have the file take `batch` samples at a time. Raises ValueError or RuntimeError if it cannot."""
        raise ValueError("its inputs have a fixed batch of 1")

    def bind(self, names: List[str]) -> Dict[str, str]:
        """Return the file's input for each of `names`. Every input must be fed; a single one may have any name."""
        inputs = list(self.inputs)
        plain = {re.sub(r"^serving_default_|:0$", "", name): name for name in inputs}
        bound = {name: name if name in self.inputs else plain.get(name, "") for name in names}
        if len(names) == len(inputs) == 1:
            return {names[0]: inputs[0]}
        if sorted(bound.values()) != sorted(inputs):
            raise Unsupported("the file takes inputs {}, and is given {}".format(listed(inputs), listed(names)))
        return bound
