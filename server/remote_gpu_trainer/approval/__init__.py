"""A person's consent: asked about one plan, given through a channel that a person operates, used once."""
