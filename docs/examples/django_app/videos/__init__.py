"""The videos of the visitors."""
