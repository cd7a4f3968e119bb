"""What people read: a table in the terminal, a page, a comparison of two runs. All from `results` alone."""
