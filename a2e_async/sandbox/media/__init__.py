"""Inputs that are fetched, and results that are rendered and stored."""
