"""The operations of A2E, one module per group."""
