"""What a gate came to as JUnit XML, which CI systems show: one test case for each limit on each cell.

The form is the one that GitLab, Jenkins and GitHub's actions read (https://github.com/testmoapp/junitxml). A limit that
is not shown is a skipped case; with `strict` it is a failure, as it is for the exit status.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ..core.sanitize import shorten
from ..evaluate.compare import Comparison
from .comparison_words import REASON_LIMIT, place

SUITE = "edgeproof compare"


def junit(comparison: Comparison, *, strict: bool = False) -> str:
    """Return the XML document of a comparison's gate. Raises ValueError for a comparison without limits."""
    gate = comparison.gate
    if gate is None:
        raise ValueError("a comparison without limits has no test cases")
    failing = ("not met", "not shown") if strict else ("not met",)
    suite = Element(
        "testsuite",
        name=SUITE,
        tests=str(len(gate.judgements)),
        failures=str(sum(j.verdict in failing for j in gate.judgements)),
        skipped=str(sum(j.verdict == "not shown" and not strict for j in gate.judgements)),
        errors="0",
    )
    for judgement in gate.judgements:
        case = SubElement(suite, "testcase", classname=place(comparison, judgement), name=shorten(judgement.limit))
        words = f"{judgement.verdict}: {shorten(judgement.why, REASON_LIMIT)}"
        if judgement.verdict in failing:
            SubElement(case, "failure", message=words, type=judgement.verdict).text = words
        elif judgement.verdict == "not shown":
            SubElement(case, "skipped", message=words)
        else:
            SubElement(case, "system-out").text = words
    whole = Element("testsuites", {k: suite.attrib[k] for k in ("name", "tests", "failures", "skipped", "errors")})
    whole.append(suite)
    indent(whole)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(whole, encoding="unicode") + "\n"
