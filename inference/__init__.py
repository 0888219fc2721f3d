"""Trained nets: load them from whatever they are kept in, and measure them on images."""
