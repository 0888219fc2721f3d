"""Parameters in files: written as a whole, read without trusting them, kept as pretrained."""
