"""The agent's side: a mailbox that cannot fall silent. Import `Mailbox` and `AsyncMailbox` from `restante`."""
