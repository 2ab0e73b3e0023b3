"""What generating data sets costs, and what comes out."""
