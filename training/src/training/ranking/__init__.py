"""The ranking objective: towers whose inner products order the catalogue for a user."""
