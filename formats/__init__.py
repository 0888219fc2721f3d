"""The files that a net is kept in, and how they are read when nobody vouches for them."""
