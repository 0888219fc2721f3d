"""The files that nets are kept in, written as a whole and read without trusting them."""
