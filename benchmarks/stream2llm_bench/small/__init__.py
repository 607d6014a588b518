"""Small measurements: ordinary traffic, events, idle sessions, integrations."""
