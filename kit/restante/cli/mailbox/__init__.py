"""The verbs of a running post office. They need click alone, so that a post host has them too, from its own release."""
