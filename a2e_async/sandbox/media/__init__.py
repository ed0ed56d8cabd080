"""Where inputs are fetched, and results are made and kept."""
