"""Splits of arrays: classes in each, groups and time series whole, nothing of the test split in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from edgeproof.core.errors import InputError
from edgeproof.core.recipe_data import Data
from edgeproof.data.array_splits import OUT, UNKNOWN, ArraySplits, split_arrays
from edgeproof.data.listing import TEST, TRAIN, VALIDATION

SPLITS = (TRAIN, VALIDATION, TEST)
seeds = st.integers(0, 99)


def split(classes: Any, *, seed: int = 1, given: Any = None, keys: dict[str, Any] | None = None, **more: Any) -> Any:
    codes = np.full(len(classes), UNKNOWN, np.int8) if given is None else np.asarray(given, np.int8)
    data = Data.model_validate({"source": "npz:x", **(keys or {})})
    return split_arrays(codes, np.asarray(classes, np.int64), data, seed=seed, **more)


@examples(sizes=st.lists(st.integers(3, 30), min_size=1, max_size=5), share=st.floats(0.05, 0.5), seed=seeds)
@settings(max_examples=60, deadline=None)
def test_each_class_is_in_each_split_in_its_share(sizes: list[int], share: float, seed: int) -> None:
    classes = np.repeat(np.arange(len(sizes)), sizes)
    found: ArraySplits = split(classes, seed=seed, keys={"test": share})
    for number, size in enumerate(sizes):
        counts = [int((found.codes[classes == number] == code).sum()) for code in SPLITS]
        assert sum(counts) == size and counts[TRAIN] >= 1 and counts[TEST] >= 1
        assert abs(counts[TEST] - share * size) <= 1
    assert (split(classes, seed=seed, keys={"test": share}).codes == found.codes).all()


@examples(
    groups=st.lists(st.integers(0, 9), min_size=30, max_size=120).filter(lambda made: len(set(made)) > 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_a_group_is_in_one_split(groups: list[int], seed: int) -> None:
    found = split(np.zeros(len(groups)), seed=seed, groups=groups)
    by_group = {group: {code for g, code in zip(groups, found.codes.tolist(), strict=True) if g == group}
                for group in groups}  # fmt: skip
    assert all(len(codes) == 1 for codes in by_group.values())
    assert (found.codes == TEST).any() and (found.codes == TRAIN).any()


def test_groups_keep_the_shares_of_classes() -> None:
    classes, groups = np.tile([0, 1, 2], 100), np.repeat(np.arange(10), 30)
    found = split(classes, groups=groups.tolist())
    assert len(set(groups[found.codes == TEST])) == 2 and len(set(groups[found.codes == VALIDATION])) == 1
    assert {int((classes[found.codes == code] == 1).sum()) for code in SPLITS} == {70, 20, 10}


def test_the_only_group_of_a_class_stays_in_training() -> None:
    classes, groups = np.repeat([0, 0, 0, 1], 10), np.repeat(np.arange(4), 10)
    for seed in range(8):
        found = split(classes, seed=seed, groups=groups.tolist())
        assert (found.codes[classes == 1] == TRAIN).all() and (found.codes == TEST).sum() == 10
    with pytest.raises(InputError, match="no group can be cut off"):
        split(np.repeat([0, 1], 10), groups=np.repeat([0, 1], 10).tolist())
    with pytest.raises(InputError, match="only one group"):
        split(np.zeros(10), groups=["a"] * 10)
    with pytest.raises(InputError, match="rows in two splits"):
        split(np.zeros(4), groups=["a", "b", "a", "b"], given=[TRAIN, TRAIN, TEST, TRAIN])


def test_overlapping_windows_of_a_series_share_no_row_with_another_split() -> None:
    rows = np.arange(0, 300, 4)[:, None] + np.arange(16)
    classes = np.repeat([0, 1, 2], 25)
    found = split(classes, rows=rows)
    used = [set(rows[found.codes == code].ravel().tolist()) for code in SPLITS]
    assert not used[0] & used[1] and not used[0] & used[2] and not used[1] & used[2] and all(used)
    assert found.shared == (found.codes == OUT).sum() > 0
    for number in range(3):  # the last of each class in time
        mine = np.flatnonzero(classes == number)
        assert (found.codes[mine[-5:]] == TEST).all()


def test_copies_stay_in_the_split_that_is_judged() -> None:
    samples = np.repeat(np.arange(20.0), 2)[:, None]
    found = split(np.zeros(40), samples=samples)
    kept = [set(samples[found.codes == code, 0]) for code in SPLITS]
    assert not kept[0] & kept[1] and not kept[0] & kept[2] and not kept[1] & kept[2]
    assert found.copies == (found.codes == OUT).sum() > 0 and (found.codes == TEST).sum() == 8


def test_given_splits_are_kept_and_limits_stratified() -> None:
    given = [TRAIN] * 20 + [TEST] * 10
    found = split(np.tile([0, 1], 15), given=given, keys={"limit_train": 6, "limit_test": 4})
    assert (found.codes[20:] != TRAIN).all() and (found.codes[:20] != TEST).all()
    for code, count in ((TRAIN, 3), (TEST, 2)):
        assert [int((np.tile([0, 1], 15)[found.codes == code] == number).sum()) for number in (0, 1)] == [count] * 2
    assert found.origins[TEST] == "given" and found.origins[VALIDATION].startswith("cut off: 0.1 of each class")
    with pytest.raises(InputError, match="limit_test = 1 is fewer"):
        split(np.tile([0, 1], 15), given=given, keys={"limit_test": 1})
    with pytest.raises(InputError, match="no sample is left for training"):
        split(np.zeros(4), given=[TEST] * 4)
