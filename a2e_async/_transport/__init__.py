"""Sends one request and returns one decoded answer: HTTP, throttle, retries, endpoints."""
