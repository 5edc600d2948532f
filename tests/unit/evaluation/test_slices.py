from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from fusion.records import User
from training.evaluation.interface import Audience
from training.evaluation.rankers import Same, popularity
from training.evaluation.ranking import rank
from training.evaluation.slices import Slice, slices
from training.evaluation.splits import Split


def by_name(split: Split) -> dict[str, Slice]:
    return {each.name: each for each in slices(split, 0)}


def told(split: Split, name: str) -> Audience:
    each = by_name(split)[name]
    return each.audience(each.users)


def test_each_slice_tells_what_its_name_says(split: Split) -> None:
    everything = told(split, "all")
    assert everything.users == split.users
    np.testing.assert_array_equal(everything.rated.toarray(), split.train.toarray())
    history = told(split, "history_only")
    assert set(history.users) == {User()}
    np.testing.assert_array_equal(history.rated.toarray(), split.train.toarray())
    for name in ("demographics_only", "likes_1", "likes_3", "likes_10"):
        users = told(split, name).users
        assert all(user.user_id is None and user.gender for user in users)
    for name in ("demographics_only", "nothing_known"):
        assert told(split, name).rated.nnz == 0
    assert set(told(split, "nothing_known").users) == {User()}


def test_the_likes_that_are_shown_are_some_of_the_history_and_more_include_fewer(
    split: Split,
) -> None:
    shown = [told(split, f"likes_{count}").rated.toarray() for count in (1, 3, 10)]
    for count, rated in zip((1, 3, 10), shown, strict=True):
        assert ((rated > 0).sum(axis=1) == count).all()
        assert (rated[rated > 0] == split.train.toarray()[rated > 0]).all()
    assert ((shown[0] > 0) <= (shown[1] > 0)).all()
    assert ((shown[1] > 0) <= (shown[2] > 0)).all()


def test_heavy_and_light_users_are_the_ends_of_the_histories(split: Split) -> None:
    found, length = by_name(split), split.train.getnnz(axis=1)
    assert length[found["light"].users].max() <= np.median(length)
    assert length[found["heavy"].users].min() >= np.median(length)


def test_new_users_are_those_without_a_history(split: Split) -> None:
    assert "new_users" not in by_name(split)
    train = split.train.toarray()
    train[:5] = 0
    found = by_name(replace(split, train=csr_matrix(train)))
    assert list(found["new_users"].users) == list(range(5))
    assert found["all"].users.min() == 5


def test_the_masks_leave_out_what_they_say(split: Split) -> None:
    ranked = rank(Same(popularity(split)), split, slices(split, 0))
    seen = (split.train + split.validation).toarray() > 0
    low = split.disliked.toarray() > 0
    rows = np.arange(len(split.users))[:, None]
    published, served = (ranked[mask]["all"].lists for mask in ("published", "served"))
    assert not seen[rows, published].any()
    assert low[rows, published].any()
    assert not (seen | low)[rows, served].any()


def test_whatever_a_model_is_told_the_whole_history_stays_masked(split: Split) -> None:
    ranked = rank(Same(popularity(split)), split, slices(split, 0))["published"]
    np.testing.assert_array_equal(ranked["nothing_known"].lists, ranked["all"].lists)
