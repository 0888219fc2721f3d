"""A trained net, whatever it is kept in, and what it says of images."""
