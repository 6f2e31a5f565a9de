"""What people say of answers: votes, kept in the registry's database."""
