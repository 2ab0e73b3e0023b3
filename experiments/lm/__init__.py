"""Language models that learn to recommend: experiments."""
