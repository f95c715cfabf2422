"""Small real Hub SavedModels for texts, built as publishers build theirs: a BERT-like pair, an NNLM-like encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeproof.frameworks.tensorflow import load

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
WORDS = ("goal", "team", "match", "score", "coach", "bank", "market", "share", "profit", "rate", "the", "and")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *LETTERS, *(f"##{c}" for c in LETTERS if c.isalnum())]
WIDTH = 16


def bert_preprocessor(folder: Path, *, lower_case: bool = True, default_length: int = 12, parts: bool = True) -> Path:
    """A preprocessor with Hub's text API: callable, and with `parts` also ``tokenize`` and ``bert_pack_inputs``."""
    tf, _ = load()
    import tensorflow_text as tf_text

    folder.mkdir(parents=True, exist_ok=True)
    words = folder.parent / f"{folder.name}-vocab.txt"
    words.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    strings = tf.TensorSpec([None], tf.string)
    ragged = tf.RaggedTensorSpec([None, None, None], tf.int32, ragged_rank=2)

    class Tokenize(tf.Module):
        def __init__(self):
            super().__init__()
            table = tf.lookup.StaticVocabularyTable(
                tf.lookup.TextFileInitializer(
                    str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
                    tf.lookup.TextFileIndex.LINE_NUMBER,
                ), 1,
            )  # fmt: skip
            self.table = table
            self.inner = tf_text.BertTokenizer(table, token_out_type=tf.int32, lower_case=lower_case)

        @tf.function(input_signature=[strings], autograph=False)
        def __call__(self, texts):
            return self.inner.tokenize(texts)

    class Pack(tf.Module):
        @tf.function(autograph=False)
        def __call__(self, inputs, seq_length=default_length):
            (tokens,) = inputs
            flat = tokens.merge_dims(-2, -1)[:, : seq_length - 2]
            rows = flat.nrows()
            ids = tf.concat([tf.fill([rows, 1], 2), flat, tf.fill([rows, 1], 3)], axis=1)
            dense, mask = tf_text.pad_model_inputs(ids, max_seq_length=seq_length)
            return {"input_word_ids": dense, "input_mask": mask, "input_type_ids": tf.zeros_like(dense)}

    class Preprocessor(tf.Module):
        def __init__(self):
            super().__init__()
            if parts:
                self.tokenize, self.bert_pack_inputs = Tokenize(), Pack()
                self.bert_pack_inputs.__call__.get_concrete_function([ragged])
                self.bert_pack_inputs.__call__.get_concrete_function([ragged], tf.TensorSpec([], tf.int32))
            else:
                self.first, self.second = Tokenize(), Pack()

        @tf.function(input_signature=[strings], autograph=False)
        def __call__(self, texts):
            first, second = (self.tokenize, self.bert_pack_inputs) if parts else (self.first, self.second)
            return second([first(texts)])

    tf.saved_model.save(Preprocessor(), str(folder))
    return folder


def bert_encoder(folder: Path, *, layers: int = 1, penalty: float = 0.0) -> Path:
    """A transformer of one head: three inputs, ``pooled_output`` and ``sequence_output``; all of it can learn."""
    tf, _ = load()
    rng = np.random.default_rng(0)
    sizes = {"words": (len(VOCABULARY), WIDTH), "places": (64, WIDTH), "types": (2, WIDTH), "pool": (WIDTH, WIDTH)}
    sizes |= {f"{name}{n}": (WIDTH, WIDTH) for n in range(layers) for name in ("query", "key", "value", "out")}
    integers = tf.TensorSpec([None, None], tf.int32)

    class Encoder(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = {
                name: tf.Variable(rng.normal(0, 0.5, size).astype(np.float32), name=name)
                for name, size in sizes.items()
            }
            self.variables_ = list(self.w.values())
            self.regularization_losses = [tf.function(self.penalty, input_signature=[])]

        def penalty(self):
            return penalty * tf.reduce_sum(self.w["pool"] ** 2)

        def run(self, inputs, training):
            ids, mask = inputs["input_word_ids"], tf.cast(inputs["input_mask"], tf.float32)
            x = tf.gather(self.w["words"], ids) + tf.gather(self.w["types"], inputs["input_type_ids"])
            x += self.w["places"][None, : tf.shape(ids)[1]]
            for n in range(layers):
                q, k, v = (tf.matmul(x, self.w[f"{name}{n}"]) for name in ("query", "key", "value"))
                scores = tf.matmul(q, k, transpose_b=True) / WIDTH**0.5 + (1 - mask[:, None, :]) * -1e9
                x += tf.matmul(tf.matmul(tf.nn.softmax(scores), v), self.w[f"out{n}"])
            pooled = tf.tanh(tf.matmul(x[:, 0], self.w["pool"]))
            if training:
                pooled = tf.nn.dropout(pooled, 0.1)
            return {"pooled_output": pooled, "sequence_output": x, "default": pooled}

        @tf.function(autograph=False)
        def __call__(self, inputs, training=False):
            return self.run(inputs, training)

    module = Encoder()
    names = ("input_word_ids", "input_mask", "input_type_ids")
    for training in (False, True):
        module.__call__.get_concrete_function(dict.fromkeys(names, integers), training=training)
    root = tf.train.Checkpoint(encoder=module)
    root.__call__ = module.__call__
    root.variables = root.trainable_variables = module.variables_
    root.regularization_losses = module.regularization_losses
    tf.saved_model.save(root, str(folder))
    return folder


def word_encoder(
    folder: Path,
    words: list[str],
    *,
    width: int = 8,
    hide_punctuation: bool = False,
    hidden: bool = False,
) -> Path:
    """An encoder of strings as Hub's swivel and NNLM models are: look words up, sum their embeddings over √n.

    With `hide_punctuation` it cleans texts in a way of its own; with `hidden` a dense layer follows.
    """
    tf, _ = load()
    folder.mkdir(parents=True, exist_ok=True)
    tokens = folder.parent / f"{folder.name}-tokens.txt"
    tokens.write_text("\n".join(words) + "\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    root = tf.train.Checkpoint()
    initializer = tf.lookup.TextFileInitializer(
        str(tokens), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    root.table = tf.lookup.StaticHashTable(initializer, len(words))
    root.embeddings = tf.Variable(rng.normal(0, 1, (len(words) + 1, width)).astype(np.float32), name="embeddings")
    root.dense = tf.Variable(rng.normal(0, 1, (width, width)).astype(np.float32), name="dense") if hidden else None

    def call(texts):
        if hide_punctuation:
            texts = tf.strings.regex_replace(texts, r"[[:punct:]]", "")
        rows = tf.strings.split(texts)
        vectors = tf.ragged.map_flat_values(lambda flat: tf.gather(root.embeddings, root.table.lookup(flat)), rows)
        count = tf.cast(tf.maximum(rows.row_lengths(), 1), tf.float32)[:, None]
        out = tf.reduce_sum(vectors, axis=1) / tf.sqrt(count)
        return tf.nn.relu(tf.matmul(out, root.dense)) if hidden else out

    root.__call__ = tf.function(call, input_signature=[tf.TensorSpec([None], tf.string)])
    root.variables = [root.embeddings, *([root.dense] if hidden else [])]
    root.trainable_variables, root.regularization_losses = root.variables, []
    tf.saved_model.save(root, str(folder))
    return folder


def word_encoder_v1(folder: Path, words: list[str], *, width: int = 8, references: bool = False) -> Path:
    """The same in the TF1 Hub format: a graph with a signature ``default``, and ``tfhub_module.pb`` that says so."""
    tf, _ = load()
    v1 = tf.compat.v1
    tokens = folder.parent / f"{folder.name}-tokens.txt"
    tokens.write_text("\n".join(words) + "\n", encoding="utf-8")
    start = np.random.default_rng(0).normal(0, 1, (len(words) + 1, width)).astype(np.float32)
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        texts = v1.placeholder(tf.string, [None], name="text")
        initializer = tf.lookup.TextFileInitializer(
            str(tokens), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        table = tf.lookup.StaticHashTable(initializer, len(words))
        embeddings = v1.get_variable("embeddings", initializer=start, use_resource=not references)
        rows = tf.strings.split(texts)
        vectors = tf.ragged.map_flat_values(lambda flat: tf.gather(embeddings, table.lookup(flat)), rows)
        count = tf.cast(tf.maximum(rows.row_lengths(), 1), tf.float32)[:, None]
        out = tf.reduce_sum(vectors, axis=1) / tf.sqrt(count)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            [],
            signature_def_map={
                "default": v1.saved_model.predict_signature_def({"default": texts}, {"default": out}),
            },
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=v1.tables_initializer(),
        )
        builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")  # ModuleDef.format: FORMAT_V3
    return folder


def counting_encoder(folder: Path) -> Path:
    """Features of a text's length alone: numbers cross, and none of them is a token."""
    tf, _ = load()
    root = tf.train.Checkpoint(w=tf.Variable([[0.5, -1.0, 2.0]], name="w"))

    def call(texts):
        size = tf.cast(tf.strings.length(texts), tf.float32)[:, None]
        return tf.tanh(tf.matmul(size / 50.0, root.w))

    root.__call__ = tf.function(call, input_signature=[tf.TensorSpec([None], tf.string)])
    root.variables = root.trainable_variables = [root.w]
    root.regularization_losses = []
    tf.saved_model.save(root, str(folder))
    return folder


SPORT = ("goal", "team", "match", "score", "coach")
MONEY = ("bank", "market", "share", "profit", "rate")
FILLER = ("the", "and", "a", "it", "was", "good", "bad", "today")


def sentences(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Made-up sentences of two kinds, told apart by their words, in changing case and with some punctuation."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    texts = []
    for label in labels:
        own = rng.choice(MONEY if label else SPORT, rng.integers(1, 4))
        words = [*own, *rng.choice(FILLER, rng.integers(2, 9))]
        rng.shuffle(words)
        text = " ".join(str(word).title() if rng.random() < 0.2 else str(word) for word in words)
        texts.append(text + str(rng.choice(["", ".", "!", "?"])))
    return texts, labels.astype(np.int64)


def _vocabulary_table(folder: Path, words: list[str], buckets: int) -> object:
    """A table of words from a file, what it lacks hashed into `buckets` behind them."""
    tf, _ = load()
    folder.mkdir(parents=True, exist_ok=True)
    tokens = folder.parent / f"{folder.name}-tokens.txt"
    tokens.write_text("\n".join(words) + "\n", encoding="utf-8")
    initializer = tf.lookup.TextFileInitializer(
        str(tokens), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    return tf.lookup.StaticVocabularyTable(initializer, buckets)


def nnlm(folder: Path, words: list[str], *, width: int = 8, buckets: int = 20, partitions: int = 3) -> Path:
    """As Hub's NNLM with normalization: punctuation off, split at spaces, unknown words hashed, sum over √n.

    Its embeddings lie in several variables, as those trained with partitioned variables do.
    """
    tf, _ = load()
    rng = np.random.default_rng(0)
    root = tf.train.Checkpoint()
    root.table = _vocabulary_table(folder, words, buckets)
    rows = -(-(len(words) + buckets) // partitions)
    root.parts = [
        tf.Variable(rng.normal(0, 1, (rows, width)).astype(np.float32), name=f"embeddings_{n}")
        for n in range(partitions)
    ]

    def call(texts):
        clean = tf.strings.regex_replace(tf.strings.lower(texts), r"[[:punct:]]", "")
        split = tf.raw_ops.StringSplit(input=clean, delimiter=tf.constant(" "), skip_empty=True)
        ids = tf.SparseTensor(split.indices, root.table.lookup(split.values), split.shape)
        return tf.compat.v1.nn.safe_embedding_lookup_sparse(root.parts, ids, None, combiner="sqrtn")

    root.__call__ = tf.function(call, input_signature=[tf.TensorSpec([None], tf.string)])
    root.variables = root.trainable_variables = list(root.parts)
    root.regularization_losses = []
    tf.saved_model.save(root, str(folder))
    return folder


def sentence_encoder(
    folder: Path, words: list[str], *, width: int = 16, buckets: int = 50, pairs: int = 200, odd: bool = False
) -> Path:
    """As Universal Sentence Encoder 4 (a deep averaging network): words and pairs of words, looked up and hashed.

    Regular expressions clean the text; the sums over √n of both look-ups go through dense layers to unit length. With
    `odd` it does something to strings that no tokenizer for devices has.
    """
    tf, _ = load()
    rng = np.random.default_rng(0)
    root = tf.train.Checkpoint()
    root.table = _vocabulary_table(folder, words, buckets)

    def variable(name, *shape):
        return tf.Variable(rng.normal(0, 0.5, shape).astype(np.float32), name=name)

    root.w = {
        "words": variable("words", len(words) + buckets, width), "pairs": variable("pairs", pairs, width),
        "hidden": variable("hidden", width, width), "bias": variable("bias", width),
        "out": variable("out", width, width),
    }  # fmt: skip

    def call(texts):
        clean = tf.strings.regex_replace(texts, r"([.,!?;:'\"()\[\]/\\-])", r" \1 ")
        clean = tf.strings.regex_replace(clean, r"\d", "0")
        clean = tf.strings.strip(tf.strings.regex_replace(clean, r"\s+", " "))
        if odd:
            clean = tf.strings.reduce_join(tf.strings.bytes_split(clean), axis=-1)
        split = tf.strings.split(tf.strings.lower(clean, encoding="utf-8"), " ")
        neighbours = tf.strings.ngrams(split, 2, separator="_")

        def looked_up(name, rows, ids):
            sparse = rows.with_flat_values(ids).to_sparse()
            return tf.compat.v1.nn.safe_embedding_lookup_sparse([root.w[name]], sparse, None, combiner="sqrtn")

        total = looked_up("words", split, root.table.lookup(split.flat_values))
        total += looked_up("pairs", neighbours, tf.strings.to_hash_bucket_fast(neighbours.flat_values, pairs))
        x = tf.tanh(tf.matmul(total, root.w["hidden"]) + root.w["bias"])
        return tf.nn.l2_normalize(tf.tanh(tf.matmul(x, root.w["out"])), axis=1)

    root.__call__ = tf.function(call, input_signature=[tf.TensorSpec([None], tf.string)])
    root.variables = root.trainable_variables = list(root.w.values())
    root.regularization_losses = []
    tf.saved_model.save(root, str(folder))
    return folder
