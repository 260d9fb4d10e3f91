// Placeholder removed with the first verb.
