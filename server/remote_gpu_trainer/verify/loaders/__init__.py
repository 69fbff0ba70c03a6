"""One module per file format; each runs only inside the limited worker process."""
