"""The words everything else is written in. Nothing here imports torch or transformers."""
