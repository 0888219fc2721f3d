"""Nets as symbols and ONNX: written, checked, and read without trusting the file."""
