"""The wire contract, named as the API reference names it. Declared once; every floor above reads it here."""
