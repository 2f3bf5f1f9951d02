"""Teachers: prepared, served by actors, asked by students, remembered on disk."""
