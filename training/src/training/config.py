"""The configuration of a training run: everything that it depends on, apart from the data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Objective = Literal["ranking", "rating"]

SCORE_SCALES: dict[Objective, float] = {"ranking": 1.0, "rating": 5.0}
"""Factor from a cosine to a score: the cosine itself, or the predicted rating in stars."""


class Config(BaseModel):
    """The choices of a training run; equal choices and equal data give equal results.

    Those from `ridge` to `history_scale` are of the ranking objective, and those from `embedding`
    to `checkpoint_steps` of the rating objective; the others are of both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    objective: Objective = "ranking"
    """What the model is fitted to: "ranking", the list of movies that a user likes next, or
    "rating", squared error between 5 · cosine and the rating."""

    dimension: int = Field(default=128, ge=2, le=4096)
    """Length of the vectors of users and movies."""

    ridge: float = Field(default=500.0, gt=0)
    """Ranking: penalty on the weights between movies; more users can bear more."""

    history_dropout: float = Field(default=0.3, ge=0, lt=1)
    """Ranking: share of a history that the denoising autoencoder hides from itself."""

    user_damping: float = Field(default=0.25, ge=0, le=1)
    """Ranking: users with n likes weigh 1 / n to the power of this."""

    few_likes: float = Field(default=3.0, ge=1)
    """Ranking: likes shown of each user to fit what a short history tells."""

    few_ridge: float = Field(default=1.0, gt=0)
    """Ranking: penalty on what a movie of a short history tells."""

    demographics_ridge: float = Field(default=100.0, gt=0)
    """Ranking: penalty on what gender, age and occupation tell."""

    content_ridge: float = Field(default=10.0, gt=0)
    """Ranking: penalty on what genres and title tell about a new movie."""

    history_scale: float = Field(default=3.0, gt=0)
    """Ranking: likes from which a history counts more as a long one than as a short one."""

    embedding: int = Field(default=256, ge=1, le=4096)
    """Width of the embedding of each attribute, before its fully connected layer."""

    title_channels: int = Field(default=64, ge=1, le=4096)
    """Filters of the convolution over the words of a title, and width of a word's embedding."""

    epochs: int = Field(default=12, ge=1)
    """Most passes over the training ratings; the learning rate falls to 0 over them."""

    patience: int = Field(default=3, ge=1)
    """Number of epochs without a better validation RMSE after which training stops."""

    batch_size: int = Field(default=8192, ge=1)
    """Number of ratings per step, over all worker processes."""

    learning_rate: float = Field(default=3e-3, gt=0)
    """Learning rate of AdamW at the start."""

    weight_decay: float = Field(default=2.0, ge=0)
    """Weight decay of AdamW: each step shrinks the parameters by the learning rate times this."""

    user_id_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the ratings with the user's id hidden; trains the embedding of unknown users."""

    movie_id_dropout: float = Field(default=0.05, ge=0, lt=1)
    """Share of the ratings with the movie's id hidden; trains the embedding of unknown movies."""

    attribute_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the ratings with gender hidden; the same for age, occupation, genres and title."""

    user_dropout: float = Field(default=0.02, ge=0, lt=1)
    """Share of the ratings with the user hidden entirely; trains the vector of an unknown user."""

    test_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of all ratings that only the final evaluation sees."""

    validation_share: float = Field(default=0.02, gt=0, lt=1)
    """Share of the remaining ratings that are used for early stopping and not for training."""

    checkpoint_steps: int = Field(default=50, ge=1)
    """Steps between two checkpoints; a run that was killed resumes from the last one."""

    seed: int = Field(default=1, ge=0)
    """Seed of the split, the initial weights, the order of batches and the hidden attributes."""


Preset = Literal["full", "quick", "small"]

PRESETS: dict[Preset, Config] = {
    "full": Config(),
    "quick": Config(epochs=8),
    "small": Config(
        dimension=64,
        embedding=64,
        title_channels=16,
        epochs=10,
        batch_size=1024,
        learning_rate=6e-3,
        weight_decay=0.5,
        checkpoint_steps=10,
        ridge=200.0,
        few_ridge=30.0,
        demographics_ridge=10.0,
        history_scale=50.0,
    ),
}
"""Configurations by name: "full" for the best model of MovieLens-1M, "quick" for a good one in less
time, "small" for data sets of some ten thousand ratings, such as the synthetic one."""
