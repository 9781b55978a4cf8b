"""Parts: what dashboards are made of."""
