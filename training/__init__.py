"""What a training run is made of: its settings, its parts, and what it leaves behind."""
