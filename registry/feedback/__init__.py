"""What people say of answers: votes, thumbs, stars and edits, kept in the registry's database."""
