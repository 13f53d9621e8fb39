"""Evaluation: metrics, bootstrap intervals, systems to compare with, plots and the report."""
