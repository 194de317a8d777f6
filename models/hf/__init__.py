"""Checkpoints of Hugging Face's families into our model and back: loader.py, export.py, and one file a family."""
