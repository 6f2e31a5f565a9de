"""What the containers run: their images' Dockerfiles, and the small programs that stand before the servers."""
