"""The walkthrough, and what renews its outputs."""
