"""What the service can do: one function for each operation of the API, called alike by HTTP, SQL and the CLI."""
