"""The one SQLite file behind the journal and the approval book: opening, schema, time that never runs back."""
