"""How anything is measured. Knows no subject and no scenario."""
