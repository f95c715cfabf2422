"""Weight clustering with TFMOT: each layer's weights have few different values, which are trained. The assignment of
weights to values starts from k-means++ and follows the weights.

Batch norms are folded first: otherwise the converter would multiply each channel by another factor, and a layer would
have many values again. Layers with hardly more weights than values are left out, as are those that pruning leaves out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import StageError
from ...core.progress import Listener
from ...core.recipe_quantize import Cluster
from ...frameworks.tensorflow import load, load_tfmot
from .layers import fold_norms
from .pruning import evaluate_network, prunable_layers, trainable_variables
from .training import Phase, Plan, Row, State, Trainable, train
from .training_data import TrainingData

TASK = "clustering"
LEAST_WEIGHTS = 16  # of a layer, for each value


def train_clustered(
    flat: Any, settings: Cluster, training_data: TrainingData, *, scratch: Path, listener: Listener
) -> tuple[Any, State, dict[str, Any]]:
    """Cluster a flat network's weights; return it without TFMOT's wrappers, the training state, and facts for `tuning`.

    Raises StageError if it has no layer to cluster, or a layer of the result has too many values.
    """
    _, keras = load()
    tfmot = load_tfmot()
    api, folded = tfmot.clustering.keras, fold_norms(flat)
    large = {layer.name for layer in folded.layers if layer.weights and layer.weights[0].shape.num_elements()
             >= LEAST_WEIGHTS * settings.clusters}  # fmt: skip
    chosen = prunable_layers(folded) & large
    if not chosen:
        raise StageError(
            f"no layer of the network has enough weights for {settings.clusters} values",
            "set fewer clusters, or use tflite:int8 for a network of this size",
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

    def evaluate() -> Row:
        return evaluate_network(network, training_data.validation, settings.distill)

    plan = Plan(
        phases=(Phase(settings.epochs, trainable_variables(network)),),
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        distill=settings.distill,
    )
    trainable = Trainable(network, evaluate)
    state = train(trainable, plan, training_data, checkpoint=scratch / "clustered.npz", task=TASK, listener=listener)
    network(training_data.train.values(slice(0, 1)), training=False)  # updates the assignment of weights to values
    stripped = api.strip_clustering(network)
    values = {name: len(np.unique(stripped.get_layer(name).kernel.numpy())) for name in sorted(chosen)}
    excess = [name for name, count in values.items() if count > settings.clusters]
    if excess:
        raise StageError(f"layer {excess[0]!r} has {values[excess[0]]} values, expected at most {settings.clusters}")
    sizes = [stripped.get_layer(name).kernel.numpy().size for name in chosen]
    kernels = [layer for layer in stripped.layers if hasattr(layer, "kernel") or hasattr(layer, "depthwise_kernel")]
    facts = {
        "clusters": settings.clusters,
        "distinct_values": max(values.values()),
        "clustered_weights": sum(sizes),
        "layers": {"clustered": len(chosen), "done": len(chosen), "total": len(kernels)},
    }
    return stripped, state, facts
