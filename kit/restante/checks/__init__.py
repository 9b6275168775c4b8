"""The suite that `restante verify` runs. It imports nothing of ours: `restante render` ships it with every bundle."""
