"""What is drawn, and what is measured to be drawn."""
