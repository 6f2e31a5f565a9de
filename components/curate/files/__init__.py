"""The user's files: which ones are read, in what bounded parts, and what each kind of them holds."""
