"""Facts at rest; the only place that imports sqlalchemy."""
