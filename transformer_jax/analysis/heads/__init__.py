"""What single heads are worth: masked and pruned, one at a time."""
