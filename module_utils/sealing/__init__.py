"""An inventory's secrets: its key pair, its private files and its SealedSecrets. Runs on the controller alone."""
