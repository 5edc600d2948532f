"""The vocabularies of a data set, and what counts as a word."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields

from fusion.records import AGE_BUCKETS, GENDERS, OCCUPATIONS, Movie, User
from fusion.vocabulary import Vocabulary

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True)
class Vocabularies:
    """One vocabulary for each attribute."""

    user_id: Vocabulary[int]
    """Ids of the users that the model was trained on."""
    gender: Vocabulary[str]
    """The values of `GENDERS`."""
    age: Vocabulary[int]
    """First year of each age bucket."""
    occupation: Vocabulary[int]
    """Codes."""
    movie_id: Vocabulary[int]
    """Ids of the catalogue that the model was trained on."""
    genre: Vocabulary[str]
    """Names."""
    title_word: Vocabulary[str]
    """Words as `words` returns them."""

    @classmethod
    def of(
        cls, users: Iterable[User], movies: Iterable[Movie], *, min_word_count: int = 2
    ) -> Vocabularies:
        """Return the vocabularies of a data set; the order of its records does not matter.

        Args:
            users: All users.
            movies: The catalogue.
            min_word_count: Number of titles that a word must occur in. A word of a single title
                says nothing about any other movie.
        """
        movies = list(movies)
        counts = Counter(word for movie in movies for word in set(words(movie.title)))
        return cls(
            user_id=Vocabulary(sorted({u.user_id for u in users if u.user_id is not None})),
            gender=Vocabulary(GENDERS),
            age=Vocabulary(AGE_BUCKETS),
            occupation=Vocabulary(range(len(OCCUPATIONS))),
            movie_id=Vocabulary(sorted({m.movie_id for m in movies if m.movie_id is not None})),
            genre=Vocabulary(sorted({genre for movie in movies for genre in movie.genres})),
            title_word=Vocabulary(sorted(w for w, n in counts.items() if n >= min_word_count)),
        )

    def sizes(self) -> dict[str, int]:
        """Return the size of each vocabulary by its name, the unknown entry included."""
        return {field.name: len(getattr(self, field.name)) for field in fields(self)}


def words(title: str) -> list[str]:
    """Return the words of a title, in lower case: "Schindler's List" → ["schindler's", "list"].

    Digits belong to words. Compatibility forms, typographic apostrophes and accents are removed, so
    that "Café" and "cafe" are the same word, however they are typed.
    """
    plain = unicodedata.normalize("NFKD", title.replace("\u2019", "'"))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return _WORD.findall(plain.casefold())
