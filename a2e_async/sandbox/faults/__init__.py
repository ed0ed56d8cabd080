"""Scripted and random faults."""
