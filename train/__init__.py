"""From labelled images to a fine-tuned model, frozen."""
