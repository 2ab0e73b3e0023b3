"""Language models as learners."""
