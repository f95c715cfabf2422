"""SavedModels of TensorFlow 1 with reference variables: TensorFlow 2 runs them, but can neither save nor freeze them.

So a TensorFlow 1 session turns the variables into constants first, and saves the result as the same SavedModel.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ..core.errors import StageError, explain_disk_errors
from ..core.files import discard
from ..core.sanitize import shorten
from .saved_model import HUB_V1, MetaGraph
from .tensorflow import load

_REFERENCES = frozenset({"Variable", "VariableV2"})


def has_references(graph: MetaGraph) -> bool:
    """Whether the graph has reference variables, the default of TensorFlow 1."""
    return any(node.op in _REFERENCES for node in graph.nodes)


def without_references(path: Path, graph: MetaGraph, folder: Path) -> Path:
    """Return a SavedModel with the signatures of `graph` of the SavedModel at `path`, with its variables as constants.

    That is `path` itself if `graph` has no references, else `folder`, whose contents are replaced. Vocabularies are
    copied, and must stay there as long as the model is used. Raises StageError when TensorFlow cannot restore or
    convert it.
    """
    if not has_references(graph):
        return path
    try:
        with explain_disk_errors(folder):
            discard(folder, root=folder.parent)
            _rewrite(path, graph, folder)
            if (path / HUB_V1).is_file():
                shutil.copyfile(path / HUB_V1, folder / HUB_V1)
    except StageError:
        raise
    except Exception as error:  # TensorFlow may raise any exception here
        raise StageError(
            f"the variables of {path}, which are references of TensorFlow 1, cannot be made constants: "
            f"{shorten(str(error), 300)}",
            "save it with resource variables or with constants, by the TensorFlow 1 it was made with",
        ) from error
    return folder


def _rewrite(path: Path, graph: MetaGraph, folder: Path) -> None:
    tf, _ = load()
    v1 = tf.compat.v1
    signatures = {name: signature for name, signature in graph.signatures.items() if name[:2] != "__"}
    tensors = [
        t for signature in signatures.values() for t in (*signature.inputs.values(), *signature.outputs.values())
    ]
    initializers = {name.split(":")[0] for name in graph.initializers}
    names = sorted(initializers | {tensor.node.split(":")[0] for tensor in tensors})
    with v1.Graph().as_default() as loaded, v1.Session() as session:
        meta = v1.saved_model.loader.load(session, sorted(graph.tags), str(path))
        definition = v1.graph_util.convert_variables_to_constants(session, loaded.as_graph_def(), names)
    assets = {asset.tensor_info.name: str(path / "assets" / asset.filename) for asset in meta.asset_file_def}
    for node in definition.node:
        if (file := assets.get(f"{node.name}:0")) is not None:  # it names a file on the machine that saved the model
            node.attr["value"].tensor.string_val[:] = [file.encode()]
    with v1.Graph().as_default() as constant, v1.Session() as session:
        tf.graph_util.import_graph_def(definition, name="")
        present = {f"{node.name}:0" for node in definition.node}
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            sorted(graph.tags),
            signature_def_map={name: meta.signature_def[name] for name in signatures},
            assets_collection=[constant.get_tensor_by_name(name) for name in assets if name in present],
            main_op=tf.group(*map(constant.get_operation_by_name, initializers)) if initializers else None,
        )
        builder.save()
