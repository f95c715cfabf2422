"""Weight clustering with TFMOT: each layer's weights take few different values, which learn; which weight has which
value is settled at the start and follows the weights from there.

Batch norms are folded in first: the converter would multiply each channel by another number, and the values of a layer
would not be few any more. Layers with hardly more weights than values are left alone, as in pruning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import StageError
from ...core.progress import Listener
from ...core.recipe import Cluster
from ...frameworks.tensorflow import load, load_tfmot
from .layers import fold_norms
from .pruning import judge_network, learnable, worth_changing
from .training import Phase, Plan, Row, State, Trainee, train
from .training_data import Material

TASK = "clustering"
WORTH = 16  # weights for each value, at least


def train_clustered(
    flat: Any, settings: Cluster, material: Material, *, scratch: Path, listener: Listener
) -> tuple[Any, State, dict[str, Any]]:
    """Cluster a flat network's weights; return it without TFMOT's wrappers, how it went, and what is to be told of it.

    Raises StageError when it has no layer to cluster, or a layer of the result has more values than asked for.
    """
    _, keras = load()
    tfmot = load_tfmot()
    api, folded = tfmot.clustering.keras, fold_norms(flat)
    large = {layer.name for layer in folded.layers if layer.weights and layer.weights[0].shape.num_elements()
             >= WORTH * settings.clusters}  # fmt: skip
    chosen = worth_changing(folded) & large
    if not chosen:
        raise StageError(
            f"no layer of the network has weights enough for {settings.clusters} values",
            "ask for fewer clusters, or use tflite:int8 for a network of this size",
        )

    def wrap(layer: Any) -> Any:
        if layer.name not in chosen:
            return layer
        return api.cluster_weights(
            layer,
            number_of_clusters=settings.clusters,
            cluster_centroids_init=api.CentroidInitialization.KMEANS_PLUS_PLUS,
        )

    network = keras.models.clone_model(folded, clone_function=wrap)

    def judge() -> Row:
        return judge_network(network, material.validation, settings.distill)

    plan = Plan(
        phases=(Phase(settings.epochs, learnable(network)),),
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        distill=settings.distill,
    )
    trainee = Trainee(network, judge)
    state = train(trainee, plan, material, checkpoint=scratch / "clustered.npz", task=TASK, listener=listener)
    network(material.train.values(slice(0, 1)), training=False)  # settles which weight has which value
    stripped = api.strip_clustering(network)
    values = {name: len(np.unique(stripped.get_layer(name).kernel.numpy())) for name in sorted(chosen)}
    wrong = [name for name, count in values.items() if count > settings.clusters]
    if wrong:
        raise StageError(f"layer {wrong[0]!r} has {values[wrong[0]]} values, expected at most {settings.clusters}")
    sizes = [stripped.get_layer(name).kernel.numpy().size for name in chosen]
    kernels = [layer for layer in stripped.layers if hasattr(layer, "kernel") or hasattr(layer, "depthwise_kernel")]
    told = {
        "clusters": settings.clusters,
        "distinct_values": max(values.values()),
        "clustered_weights": sum(sizes),
        "layers": {"clustered": len(chosen), "done": len(chosen), "total": len(kernels)},
    }
    return stripped, state, told
