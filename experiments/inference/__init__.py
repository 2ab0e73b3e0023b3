"""Evidence for what the recommender believes and asks."""
