"""What a run tells people: console, journal, tables and pictures of results."""
