"""Images in, uint8 batches and augmentation plans out."""
