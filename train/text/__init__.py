"""Texts and token ids to a fine-tuned model, frozen."""
