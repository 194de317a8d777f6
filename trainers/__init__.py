"""logits -> weights: the loop, the losses, optimizers, schedules, checkpoints."""
