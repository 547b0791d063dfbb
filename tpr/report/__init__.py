"""What a run tells people: console, journal, tables and images of results."""
