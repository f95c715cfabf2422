"""Which runtime first had each version of each operator: the table, and what follows from it for a file.

Facts. Google keeps such a list, ``tflite/converter/tools/versioning/runtime_version.cc`` (441 entries; read in
github.com/google-ai-edge/LiteRT at commit f677904, 2026-08-21, the file's last change being 82abce8, 2026-07-22). It is
written by hand and was wrong in 34 places when compared with real runtimes. So this table was measured on them: every
operator in versions 1 to 20 was put into a separate file, and the file was loaded in TensorFlow Lite
2.3 to 2.21 (each minor release, from tflite-runtime's and TensorFlow's wheels) and in each ai-edge-litert from 1.0.0 to
2.3.0 (2026-11-22). Releases before 2.3 and after 2.21 are from Google's list (TensorFlow 2.21 is the latest).

An ai-edge-litert release is cut from a branch between two releases of TensorFlow: it has all that the older one has and
some of the newer one. Hence two columns, and `tflite_of` for the corresponding TensorFlow Lite.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..core.runtime import RUNTIMES

# Custom operators that stock runtimes are built with (tflite/core/kernels/register.cc).
STOCK_CUSTOM = frozenset({"AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess"})

# What the table covers: within it, a version that is not listed exists nowhere.
NEWEST = {"tflite": "2.23.0", "litert": "2.3.0"}

# OPERATOR version:tflite[/ai-edge-litert] ...; ai-edge-litert defaults to 1.0.0. `none`: no runtime has it.
# A line that begins with a space continues the operator above.
_TABLE = """
ABS 1:1.13 2:2.4 3:2.5 4:2.6 5:2.12
ADD 1:1.5 2:1.14 3:2.4 4:2.6 5:2.13 6:2.23/2.1.6
ADD_N 1:1.14
ARG_MAX 1:1.9 2:1.14 3:2.9
ARG_MIN 1:1.9 2:1.14 3:2.9
ASSIGN_VARIABLE 1:2.6
ATAN2 1:2.10
AVERAGE_POOL_2D 1:1.5 2:1.14 3:2.3
BATCH_MATMUL 1:2.3 2:2.3 3:2.4 4:2.5
BATCH_TO_SPACE_ND 1:1.6 2:1.14 3:2.3 4:2.13
BIDIRECTIONAL_SEQUENCE_LSTM 1:1.14 2:1.14 3:1.14
BIDIRECTIONAL_SEQUENCE_RNN 1:1.14 2:1.14 3:2.4
BITCAST 1:2.13
BITWISE_XOR 1:2.13
BROADCAST_ARGS 1:2.7
BROADCAST_TO 2:2.5 3:2.5 4:2.23/2.2.0
BUCKETIZE 1:2.8
CALL_ONCE 1:2.5
CAST 1:1.5 2:2.7 3:2.8 4:2.9 5:2.13 6:2.15 7:2.19/1.1.0 8:2.21/2.1.0 9:2.23/2.2.0
CEIL 1:1.14
COMPLEX_ABS 1:2.5
CONCATENATION 1:1.5 2:1.14 3:2.3 4:2.14 5:2.21/2.1.2 6:2.23/2.1.6 7:2.23/2.2.0
CONV_2D 1:1.5 2:1.14 3:1.14 4:2.3 5:2.4 6:2.9 7:2.12 8:2.15
CONV_3D 1:2.5
CONV_3D_TRANSPOSE 1:2.6
COS 1:1.14 2:2.23/2.1.6
CUMSUM 1:2.4
DENSIFY 1:2.2
DEPTHWISE_CONV_2D 1:1.5 2:1.12 3:1.14 4:2.2 5:2.3 6:2.4 7:2.13
DEPTH_TO_SPACE 1:2.1 2:2.5
DEQUANTIZE 1:1.13.1 2:1.14 3:1.15 4:2.2 5:2.7 6:2.18 7:2.21/2.1.0 8:2.22/2.1.3 9:2.23/2.2.0
DILATE 1:2.15
DIV 1:1.6 2:2.3
DYNAMIC_UPDATE_SLICE 1:2.9 2:2.18 3:2.19/1.1.0 4:2.20/1.3.0 5:2.21/2.1.2 6:2.22/2.1.6
ELU 1:1.14
EMBEDDING_LOOKUP 1:1.13 2:1.14 3:1.14 4:2.18 5:2.21/2.1.2
EMBEDDING_LOOKUP_SPARSE 1:1.5
EQUAL 1:1.14 2:1.14 3:2.3 4:2.13 5:2.21/2.1.0
EXP 1:1.7 2:2.13
EXPAND_DIMS 1:1.10
FAKE_QUANT 1:1.5 2:1.10
FILL 1:1.13 2:2.3 3:2.5 4:2.12 5:2.23/2.2.0
FLOOR 1:1.9
FLOOR_DIV 1:1.14 2:1.14 3:2.13
FLOOR_MOD 1:1.13 2:2.13
FULLY_CONNECTED 1:1.5 2:1.10 3:1.14 4:1.14 5:2.0 6:2.1 7:2.3 8:2.3 9:2.4 10:2.13 11:2.15 12:2.17 13:2.18 14:2.21/2.1.0
GATHER 1:1.6 2:1.14 3:1.15 4:2.4 5:2.5 6:2.13 7:2.15 8:2.23/2.2.0
GATHER_ND 1:1.14 2:2.3 3:2.5 4:2.13 5:2.16 6:2.23/2.2.0
GELU 1:2.8 2:2.9 3:2.23/2.1.6
GREATER 1:1.14 2:1.14
GREATER_EQUAL 1:1.14 2:1.14 3:2.13
HARD_SWISH 1:1.15
HASHTABLE 1:2.5
HASHTABLE_FIND 1:2.5
HASHTABLE_IMPORT 1:2.5
HASHTABLE_LOOKUP 1:1.5
HASHTABLE_SIZE 1:2.5
IF 1:1.15
IMAG 1:2.5
L2_NORMALIZATION 1:1.5 2:1.14
L2_POOL_2D 1:1.5
LEAKY_RELU 1:1.13.1 2:2.3
LESS 1:1.14 2:1.14 3:2.13
LESS_EQUAL 1:1.14 2:1.14
LOCAL_RESPONSE_NORMALIZATION 1:1.5
LOG 1:1.14 2:2.15
LOGICAL_AND 1:1.11
LOGICAL_NOT 1:1.11
LOGICAL_OR 1:1.11
LOGISTIC 1:1.14 2:1.14 3:2.3
LOG_SOFTMAX 1:1.14 2:1.14
LSH_PROJECTION 1:1.5
LSTM 1:1.7 2:1.10 3:1.14 4:2.4
MATRIX_DIAG 1:1.14
MATRIX_SET_DIAG 1:1.14
MAXIMUM 1:1.14 2:1.14 3:2.3 4:2.3
MAX_POOL_2D 1:1.5 2:1.14 3:2.3
MEAN 1:1.6 2:1.14 3:2.4
MINIMUM 1:1.14 2:1.14 3:2.3 4:2.3
MIRROR_PAD 1:1.13.1 2:2.3 3:2.13
MUL 1:1.5 2:1.14 3:1.15 4:2.3 5:2.6 6:2.11 7:2.13 8:2.23/2.1.6
MULTINOMIAL 1:2.8
NEG 1:1.9
NON_MAX_SUPPRESSION_V4 1:2.1
NON_MAX_SUPPRESSION_V5 1:2.1
NOT_EQUAL 1:1.14 2:1.14 3:2.3 4:2.21/2.1.0
ONE_HOT 1:1.11
PACK 1:1.11 2:1.14 3:2.3 4:2.14 5:2.23/2.2.0
PAD 1:1.5 2:1.14 3:2.4 4:2.6 5:2.20/2.0.2 6:2.23/2.2.0
PADV2 1:1.9 2:1.14 3:2.4 4:2.6 5:2.20/2.0.2 6:2.23/2.2.0
POW 1:1.10
PRELU 1:1.8
QUANTIZE 1:1.14 2:1.15 3:2.7 4:2.21/2.1.0 5:2.22/2.1.3 6:2.22/2.1.3
RANDOM_STANDARD_NORMAL 1:2.7
RANDOM_UNIFORM 1:2.8
RANGE 1:1.13 2:2.14
RANK 1:1.14
READ_VARIABLE 1:2.6
REAL 1:2.5
REDUCE_ALL 1:2.6
REDUCE_ANY 1:1.11
REDUCE_MAX 1:1.11 2:1.14 3:2.5
REDUCE_MIN 1:1.11 2:1.14 3:2.5
REDUCE_PROD 1:1.11 2:2.7
REDUCE_WINDOW 1:2.15
RELU 1:1.5 2:2.1 3:2.5
RELU6 1:1.5 2:1.14 3:2.5
RELU_0_TO_1 1:2.10
RELU_N1_TO_1 1:1.5
RESHAPE 1:1.5
RESIZE_BILINEAR 1:1.7 2:1.14 3:2.2 4:2.5
RESIZE_NEAREST_NEIGHBOR 1:1.13.1 2:1.14 3:2.3 4:2.4
REVERSE_SEQUENCE 1:1.14
REVERSE_V2 1:1.14 2:2.2 3:2.5 4:2.23/2.2.0
RFFT2D 1:2.5
RIGHT_SHIFT 1:2.13
RNN 1:1.5 2:1.14 3:2.4
ROUND 1:1.14
RSQRT 1:1.10 2:2.5 3:2.15
SCATTER_ND 1:2.1
SEGMENT_SUM 1:2.2
SELECT 1:1.14 2:1.14 3:2.12 4:2.14
SELECT_V2 1:2.2 2:2.14
SHAPE 1:1.10
SIGN 1:2.11 2:2.12
SIN 1:1.9 2:2.23/2.1.6
SKIP_GRAM 1:1.5
SLICE 1:1.14 2:1.14 3:1.14 4:2.4 5:2.5 6:2.14 7:2.21/2.1.0 8:2.23/2.1.6
SOFTMAX 1:1.5 2:1.14 3:2.3 4:2.23/2.1.6
SPACE_TO_BATCH_ND 1:1.6 2:1.14 3:2.3 4:2.13
SPACE_TO_DEPTH 1:1.5 2:1.14
SPARSE_TO_DENSE 1:1.9 2:1.14 3:1.15
SPLIT 1:1.5 2:1.14 3:1.14 4:2.3 5:2.23/2.2.0
SPLIT_V 1:1.13.1 2:2.3 3:2.23/2.2.0
SQRT 1:1.10 2:2.21/2.0.2
SQUARE 1:1.12
SQUARED_DIFFERENCE 1:1.13.1 2:2.5
SQUEEZE 1:1.6 2:2.5
STABLEHLO_ADD 1:2.16
STABLEHLO_AND 1:2.18/1.1.0
STABLEHLO_CASE 1:2.19/1.1.0
STABLEHLO_CBRT 1:none
STABLEHLO_COMPOSITE 1:2.18
STABLEHLO_GATHER 1:2.16
STABLEHLO_MAXIMUM 1:2.16
STABLEHLO_MINIMUM 1:2.16
STABLEHLO_MULTIPLY 1:2.16
STABLEHLO_PAD 1:2.16
STABLEHLO_REDUCE_WINDOW 1:2.16
STABLEHLO_RNG_BIT_GENERATOR 1:2.15
STABLEHLO_SCATTER 1:2.15
STABLEHLO_SHIFT_LEFT 1:2.18/1.1.0
STRIDED_SLICE 1:1.6 2:1.14 3:2.1 4:2.2 5:2.5 6:2.6 7:2.14 8:2.14
SUB 1:1.6 2:1.14 3:2.3 4:2.4 5:2.4
SUM 1:1.10 2:1.15
SVDF 1:1.5 2:1.14 3:2.2 4:2.4
TANH 1:1.14 2:1.14 3:2.3
TILE 1:1.10.1 2:2.2 3:2.8
TOPK_V2 1:1.7 2:1.14 3:2.13
TRANSPOSE 1:1.6 2:1.14 3:1.15 4:2.3 5:2.4 6:2.12 7:2.20/1.2.0 8:2.22/2.1.6 9:2.23/2.1.6
TRANSPOSE_CONV 1:1.9 2:2.2 3:2.3 4:2.12 5:2.15
UNIDIRECTIONAL_SEQUENCE_LSTM 1:1.13.1 2:1.14 3:2.4 4:2.12
UNIDIRECTIONAL_SEQUENCE_RNN 1:1.14 2:1.14 3:2.4
UNIQUE 1:1.14
UNPACK 1:1.11 2:1.14 3:2.2 4:2.3 5:2.22/2.1.3 6:2.23/2.2.0
UNSORTED_SEGMENT_MAX 1:2.10
UNSORTED_SEGMENT_MIN 1:2.11
UNSORTED_SEGMENT_PROD 1:2.10
UNSORTED_SEGMENT_SUM 1:2.10
VAR_HANDLE 1:2.6
WHERE 1:1.14 2:2.8
WHILE 1:1.15
ZEROS_LIKE 1:1.12
"""

# Tensor types newer than the first runtimes, measured on the same runtimes in the same way. The first TensorFlow Lite
# with bfloat16 lies between 2.15 and 2.17; 2.11 reads int4 too, but not two of them in a byte.
_TYPES = {
    "uint16": ("2.9.0", "1.0.0"),
    "int4": ("2.12.0", "1.0.0"),
    "bfloat16": ("2.17.0", "1.0.0"),
    "int2": ("2.21.0", "2.1.0"),
    "uint4": ("2.21.0", "2.1.2"),
    "float8_e4m3fn": ("2.23.0", "2.1.6"),
    "float8_e5m2": ("2.23.0", "2.1.6"),
}


@dataclass(frozen=True)
class Since:
    """The first TensorFlow Lite and the first ai-edge-litert with something; empty where none has it."""

    tflite: str
    litert: str

    def of(self, family: str) -> str:
        """Return the first version of ``tflite`` or ``litert``."""
        return self.litert if family == "litert" else self.tflite


# Each ai-edge-litert from which on releases have every operator of a TensorFlow Lite (follows from the table; kept for
# people, and checked by a test).
_LITERT_IS = (
    ("2.2.0", "2.23.0"),
    ("2.1.6", "2.22.0"),
    ("2.1.2", "2.21.0"),
    ("2.0.2", "2.20.0"),
    ("1.1.0", "2.19.0"),
    ("1.0.0", "2.17.0"),
)


# Buffers that lie behind the flatbuffer instead of in it, as in files of more than 2 GB, and in those that
# ai-edge-quantizer writes: 2.13 says "Input tensor lacks data", 2.14 reads them.
OFFSETS = Since("2.14.0", "1.0.0")


def _read(table: str) -> Iterator[tuple[tuple[str, int], Since]]:
    name = ""
    for line in table.splitlines():
        if not line.strip():
            continue
        parts = line.split()
        if not line.startswith(" "):
            name = parts.pop(0)
        for part in parts:
            version, _, first = part.partition(":")
            tflite, _, litert = first.partition("/")
            since = Since("", "") if first == "none" else Since(_full(tflite), litert or "1.0.0")
            yield (name, int(version)), since


def _full(version: str) -> str:
    return version if version.count(".") == 2 else f"{version}.0"


def order(version: str) -> tuple[int, ...]:
    """Return a version as comparable numbers: ``2.14`` as (2, 14, 0). A part that is not a number counts as 0."""
    numbers = [int("".join(c for c in part if c.isdecimal()) or 0) for part in version.split(".")[:3]]
    return (*numbers, *(0,) * (3 - len(numbers)))


VERSIONS: dict[tuple[str, int], Since] = dict(_read(_TABLE))


def oldest(name: str, version: int, column: str = "tflite") -> str:
    """Return the first TensorFlow Lite (or ``litert``) with an operator in a version, e.g. ``2.17.0``.

    Empty where the table does not know the version, and for custom operators, which no stock runtime carries.
    """
    since = VERSIONS.get((name, version))
    return since.of(column) if since else ""


def type_since(dtype: str) -> Since:
    """Return the first runtimes with a tensor type; the oldest ones for types that always existed."""
    return Since(*_TYPES.get(dtype, ("1.5.0", "1.0.0")))


def has(runtime: str, runtime_version: str, name: str, version: int) -> bool | None:
    """Return whether a runtime has an operator in a version; None if it is newer than the table."""
    column = RUNTIMES[runtime].versions
    since = VERSIONS.get((name, version))
    first = since.of(column) if since else ""
    if first:
        return order(first) <= order(runtime_version)
    return False if order(runtime_version) <= order(NEWEST[column]) else None


def newest_version(runtime: str, runtime_version: str, name: str) -> int:
    """Return the newest version of an operator that a runtime has; 0 where it has none."""
    return max((v for (n, v) in VERSIONS if n == name and has(runtime, runtime_version, n, v)), default=0)


def tflite_of(runtime: str, runtime_version: str) -> str:
    """Return the newest TensorFlow Lite that a runtime has every operator of, e.g. ``2.19.0`` for litert 1.4.0."""
    if RUNTIMES[runtime].versions == "tflite":
        return _full(runtime_version)
    return next((tflite for first, tflite in _LITERT_IS if order(runtime_version) >= order(first)), "")


def highest(versions: Iterable[str]) -> str:
    """Return the highest version; empty if one of them is empty (unknown), or there are none."""
    every = list(versions)
    return max(every, key=order) if every and all(every) else ""
