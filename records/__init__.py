"""What a run leaves on the disk: settings, folder, checkpoints. Nothing here takes a step."""
