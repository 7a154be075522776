"""A TrainSpec becomes an adapter; knows no database and no HTTP. `spec` and `reports` are free of torch."""
