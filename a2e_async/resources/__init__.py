"""What can be asked of A2E: one class per group of its documentation."""
