"""Combine several recommenders into one ranking."""

from skclip.ensemble._voting import VotingRecommender

__all__ = ["VotingRecommender"]
