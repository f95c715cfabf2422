"""The agent: loads an artifact in one runtime, runs it, times it, and reports in JSON.

This folder is all that travels to a device (`..agent_program`). It needs Python 3.7 or newer, numpy and the runtime,
and imports nothing from outside itself. ``python FOLDER FILE`` reads one job from a JSON file (or ``-`` for standard
input), does it in this process and writes one JSON document to standard output::

    {"verb": "load" | "infer" | "serve" | "profile", "artifact": "model.tflite", "inputs": "test.npy", "threads": 1,
     "session": "TFLite", "module": "ai_edge_litert.interpreter", "distribution": "ai-edge-litert", ...}
                                           →  {"status": "ok", "reason": "", "data": {...}}

On another device the job names a folder, ``shelf``, and files in it (see `shelf.Shelf`): further verbs put them there
by their SHA-256 (``have``, ``put``, ``tree``), install packages (``venv``, ``unpack``), remove all (``clean``), and
tell what the device is (``about``). Answers are then in the report, and not in a file.

With the verb ``serve`` the process stays: after the report on the import of the runtime it reads one request per line
from standard input and answers each with one line (see `server.Server`), until the input ends.

``session`` is one of `sessions.SESSIONS`, ``module`` the module to import, ``distribution`` its package. ``inputs`` is
a file of samples (``.npy``) or of texts (``.jsonl``, one JSON string per line). ``feed`` says how a sample is converted
to inputs (`feed.Feed`), ``answer`` names the output to report (empty: the first); ``answers`` instead lists several
with the number of values of each, which are reported one behind the other, filled up with zeros. Inputs and outputs are
matched by name, since converters reorder them. ``path`` is a folder with a version of the runtime, which then takes
precedence over the installed one.

One process does one job: runtimes interfere with each other inside a process, memory is only comparable in a fresh
process, and the crash of a runtime then affects nothing else.
"""
