"""Fits all models and baselines to all splits, and compares them.

A model takes part by an entry in `RANKERS` or `RATERS`: a function from a split to something that
scores or predicts (`interface`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from training.evaluation import marquee, rankers, raters
from training.evaluation.figures import ranking_cell, rating_cell
from training.evaluation.interface import FitRanker, FitRater
from training.evaluation.ranking import PUBLISHED, SERVED, Ranked, rank
from training.evaluation.rating import Rated, predict
from training.evaluation.results import Results, Table
from training.evaluation.slices import Slice, slices
from training.evaluation.splits import (
    Split,
    random_split,
    rating_split,
    rating_time_split,
    recbole_split,
    time_split,
)
from training.movielens import Dataset

RANKERS: Mapping[str, FitRanker] = {
    "popularity": rankers.fit_popularity,
    "item_mean": rankers.fit_item_mean,
    "item_knn": rankers.fit_item_knn,
    "ials": rankers.fit_ials,
    "ease": rankers.fit_ease,
    "edlae": rankers.fit_edlae,
    "marquee": marquee.fit_ranking,
}
RATERS: Mapping[str, FitRater] = {
    "global_mean": raters.fit_global_mean,
    "item_mean": raters.fit_item_mean,
    "biases": raters.fit_biases,
    "svd": raters.fit_svd,
    "marquee": marquee.fit_rating,
}
BASELINES = ("popularity", "item_mean", "item_knn", "ials", "ease", "global_mean", "biases", "svd")
"""What every other model is compared with."""
RANKING_SPLITS = (random_split, recbole_split, time_split)
RATING_SPLITS = (rating_split, rating_time_split)
_RATED = (
    "all",
    "heavy",
    "light",
    "history_only",
    "demographics_only",
    "nothing_known",
    "new_users",
)
_SLICES: Mapping[str, Collection[str]] = {
    "recbole": ("all",),  # to compare with published figures, which are of all users
    "ratings": _RATED,
    "ratings_time": _RATED,
}
"""Slices of a split, where they are not all."""

Fit = TypeVar("Fit")
Say = Callable[[str], None]
"""Takes a line about the progress."""


def compare(
    dataset: Dataset, seed: int, say: Say, *, only: Collection[str] | None = None
) -> Results:
    """Fit and compare models and baselines.

    Args:
        dataset: The data.
        seed: Determines the splits and which likes are shown.
        say: Called with a line for each step.
        only: Names of the models to compare. None: all.

    Raises:
        DataError: The data cannot be split, or is too small to rank.
    """
    results = Results(
        data={
            "fingerprint": dataset.fingerprint,
            "users": len(dataset.users),
            "movies": len(dataset.movies),
            "ratings": len(dataset.ratings),
        },
        seed=seed,
        splits={},
    )
    run = _Run(results, seed, say, only)
    for make in RANKING_SPLITS:
        run.ranking(make(dataset, seed))
    for make in RATING_SPLITS:
        run.rating(make(dataset, seed))
    return results


@dataclass(frozen=True)
class _Run:
    """A comparison under way."""

    results: Results
    seed: int
    say: Say
    only: Collection[str] | None

    def ranking(self, split: Split) -> None:
        found = self._slices(split)
        ranked: dict[str, dict[str, dict[str, Ranked]]] = {}
        for name, fit in self._chosen(RANKERS).items():
            started = time.monotonic()
            fitted = fit(split)
            self._note(name, split, time.monotonic() - started, fitted.tried)
            ranked[name] = rank(fitted.ranker, split, found)
            first = next(iter(ranked[name][PUBLISHED].values()))
            figure = first.values["ndcg@10"].mean()
            self.say(f"{split.name}: {name} NDCG@10 {figure:.4f}")
        tables: dict[str, Table] = {
            PUBLISHED: self.results.published,
            SERVED: self.results.served,
        }
        for mask, table in tables.items():
            for name, by_mask in ranked.items():
                table.setdefault(name, {})[split.name] = {
                    part: ranking_cell(
                        each,
                        {
                            baseline: ranked[baseline][mask][part]
                            for baseline in _baselines_of(name, ranked)
                        },
                    )
                    for part, each in by_mask[mask].items()
                }

    def rating(self, split: Split) -> None:
        found = self._slices(split)
        rated: dict[str, dict[str, Rated]] = {}
        for name, fit in self._chosen(RATERS).items():
            started = time.monotonic()
            fitted = fit(split)
            self._note(name, split, time.monotonic() - started, fitted.tried)
            rated[name] = predict(fitted.rater, split, found)
            figure = next(iter(rated[name].values())).figures()["rmse"]
            self.say(f"{split.name}: {name} RMSE {figure:.4f}")
        for name, by_slice in rated.items():
            self.results.published.setdefault(name, {})[split.name] = {
                part: rating_cell(
                    each,
                    {baseline: rated[baseline][part] for baseline in _baselines_of(name, rated)},
                )
                for part, each in by_slice.items()
            }

    def _slices(self, split: Split) -> list[Slice]:
        """Return the slices of a split, and write down its sizes."""
        wanted = _SLICES.get(split.name)
        found = [each for each in slices(split, self.seed) if wanted is None or each.name in wanted]
        self.results.splits[split.name] = {
            "users": len(split.users),
            "movies": len(split.movies),
            "train": split.train.nnz,
            "validation": split.validation.nnz,
            "test": split.test.nnz,
            "disliked": split.disliked.nnz,
            "slices": {each.name: len(each.users) for each in found},
        }
        return found

    def _chosen(self, entries: Mapping[str, Fit]) -> Mapping[str, Fit]:
        return {n: fit for n, fit in entries.items() if self.only is None or n in self.only}

    def _note(self, name: str, split: Split, seconds: float, tried: Mapping[str, float]) -> None:
        self.results.seconds.setdefault(name, {})[split.name] = round(seconds, 1)
        if tried:
            self.results.tried.setdefault(name, {})[split.name] = dict(tried)


def _baselines_of(name: str, run: Collection[str]) -> list[str]:
    return [] if name in BASELINES else [each for each in BASELINES if each in run]
