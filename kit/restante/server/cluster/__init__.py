"""One member of a replicated store, as a deploy and `restante status` ask about it."""
