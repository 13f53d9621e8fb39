"""Dagster shells: each asset reads, calls one function of a stage, writes, and says what it did. No arithmetic, no SQL, no formats."""
