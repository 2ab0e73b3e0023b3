"""One runnable file for each table or claim, with its result beside it."""
